"""Generated tokens per second: our `pytorch` engine, transformers' generate, and GPT2-chitchat's way.

    python benchmarks/generate.py [--size small|base] [--streams 1 8 32] [--bf16] [--json]

Random weights, a vocabulary of 21,128, fresh random prompts in every round (a prefix cache must not help),
top-k 8, replies of a fixed length; the best of the rounds counts for each. GPT2-chitchat's loop
answers one prompt at a time without a key-value cache, so it has one figure, for one stream; its
ratios at more streams compare with that figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from chatgpt2.engine.base import SamplingParams
from chatgpt2.engine.pytorch import PyTorchEngine

VOCABULARY = 21128
SIZES = {"small": (6, 384), "base": (12, 768)}  # layers, embedding
TOP_K = 8

Prompts = list[list[int]]
Contender = Callable[[Prompts, int], object]  # prompts, new tokens


@dataclass(frozen=True, slots=True)
class Task:
    """What is generated in one round."""

    streams: int
    prompt_tokens: int
    new_tokens: int

    def prompts(self) -> Prompts:
        """Fresh ones each time; the first hundred ids are the special tokens of such a vocabulary."""
        return torch.randint(100, VOCABULARY, (self.streams, self.prompt_tokens)).tolist()


def random_model(size: str) -> GPT2LMHeadModel:
    layers, embedding = SIZES[size]
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=512,
        n_layer=layers,
        n_embd=embedding,
        n_head=embedding // 64,
        bos_token_id=101,
        eos_token_id=102,
        pad_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    model.train(False)
    return model


@torch.inference_mode()
def chitchat(model: GPT2LMHeadModel, prompt: list[int], new_tokens: int) -> list[int]:
    """The algorithm of GPT2-chitchat's interact.py: the whole sequence again for every token."""
    ids, reply = torch.tensor([prompt]), list[int]()
    for _ in range(new_tokens):
        logits = model(input_ids=ids, use_cache=False).logits[0, -1]
        for said in set(reply):
            logits[said] /= 1.0  # its repetition penalty, token by token
        logits[100] = -torch.inf
        logits[logits < logits.topk(TOP_K).values[-1]] = -torch.inf
        token = torch.multinomial(logits.softmax(-1), 1)
        reply.append(int(token))
        ids = torch.cat([ids, token.view(1, 1)], dim=1)
    return reply


@torch.inference_mode()
def transformers_generate(model: GPT2LMHeadModel, prompts: Prompts, new_tokens: int) -> None:
    ids = torch.tensor(prompts)
    model.generate(  # type: ignore[misc]
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=TOP_K,
        top_p=1.0,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        pad_token_id=0,
    )


async def ours(engine: PyTorchEngine, prompts: Prompts, new_tokens: int) -> None:
    """All prompts at once, each by a caller of its own."""
    params = SamplingParams(
        temperature=1, top_k=TOP_K, top_p=1, repetition_penalty=1, max_new_tokens=new_tokens
    )

    async def call(prompt: list[int]) -> None:
        async for _ in engine.generate(prompt, params):
            pass

    await asyncio.gather(*(call(prompt) for prompt in prompts))


def contenders(model: GPT2LMHeadModel, engine: PyTorchEngine, runner: asyncio.Runner) -> dict[str, Contender]:
    return {
        "chitchat": lambda prompts, new: chitchat(model, prompts[0], new),
        "transformers": lambda prompts, new: transformers_generate(model, prompts, new),
        "pytorch": lambda prompts, new: runner.run(ours(engine, prompts, new)),
    }


def race(works: dict[str, Contender], task: Task, rounds: int) -> dict[str, float]:
    """Tokens per second of each, the best of the rounds; they take turns, so that all meet the same machine."""
    seconds = dict.fromkeys(works, float("inf"))
    for lap in range(rounds + 1):
        for name, work in works.items():
            prompts = task.prompts()
            start = time.perf_counter()
            work(prompts, task.new_tokens)
            if lap:  # the first one warms up
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    streams = {name: 1 if name == "chitchat" else task.streams for name in works}
    return {name: streams[name] * task.new_tokens / seconds[name] for name in works}


def row(streams: int, speeds: dict[str, float]) -> dict[str, float]:
    """One line of the table: speeds and what ours is as a multiple of the others."""
    ratios = {f"over_{name}": speeds["pytorch"] / speeds[name] for name in ("chitchat", "transformers")}
    rounded = {name: round(value, 2) for name, value in {**speeds, **ratios}.items()}
    return {"streams": streams, **rounded}


def measure(size: str, tasks: Sequence[Task], rounds: int, bf16: bool) -> list[dict[str, float]]:
    model = random_model(size)
    engine = PyTorchEngine(model, dtype=torch.bfloat16 if bf16 else None)
    with asyncio.Runner() as runner:
        works = contenders(model, engine, runner)
        rows = [row(task.streams, race(works, task, rounds)) for task in tasks]
        runner.run(engine.close())
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompt-tokens", type=int, default=60)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="our engine in bfloat16; the others stay float32")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def main() -> None:
    options = parse()
    tasks = [Task(streams, options.prompt_tokens, options.new_tokens) for streams in options.streams]
    rows = measure(options.size, tasks, options.rounds, options.bf16)
    if options.json:
        setting = {"size": options.size, "bf16": options.bf16, "threads": torch.get_num_threads()}
        print(json.dumps({**setting, "results": rows}))
        return
    print(f"{options.size}, tokens/s, {torch.get_num_threads()} threads")
    for row in rows:
        print("  ".join(f"{name} {value:g}" for name, value in row.items()))


if __name__ == "__main__":
    main()
