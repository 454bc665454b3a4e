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


@dataclass(frozen=True, slots=True)
class Task:
    """What is generated in one round."""

    streams: int
    prompt_tokens: int
    new_tokens: int

    def prompts(self) -> Prompts:
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
    return GPT2LMHeadModel(config).eval()


@torch.inference_mode()
def chitchat(model: GPT2LMHeadModel, prompt: list[int], new_tokens: int) -> list[int]:
    """The algorithm of GPT2-chitchat's interact.py: the whole sequence again for every token."""
    ids, reply = torch.tensor([prompt]), []
    for _ in range(new_tokens):
        logits = model(input_ids=ids, use_cache=False).logits[0, -1]
        for token in set(reply):
            logits[token] /= 1.0  # its repetition penalty, token by token
        logits[100] = -torch.inf
        logits[logits < logits.topk(TOP_K).values[-1]] = -torch.inf
        token = torch.multinomial(logits.softmax(-1), 1)
        reply.append(int(token))
        ids = torch.cat([ids, token.view(1, 1)], dim=1)
    return reply


@torch.inference_mode()
def transformers_generate(model: GPT2LMHeadModel, prompts: Prompts, new_tokens: int) -> None:
    ids = torch.tensor(prompts)
    model.generate(
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


def tokens_per_second(work: Callable[[Prompts], object], task: Task, rounds: int) -> float:
    """The best of the rounds, after one short round that warms up."""
    work(Task(1, task.prompt_tokens, task.new_tokens).prompts())
    seconds = []
    for _ in range(rounds):
        prompts = task.prompts()
        start = time.perf_counter()
        work(prompts)
        seconds.append(time.perf_counter() - start)
    return task.streams * task.new_tokens / min(seconds)


def measure(size: str, tasks: Sequence[Task], rounds: int, bf16: bool) -> list[dict[str, float]]:
    model = random_model(size)
    peer = tokens_per_second(
        lambda prompts: chitchat(model, prompts[0], tasks[0].new_tokens),
        Task(1, tasks[0].prompt_tokens, tasks[0].new_tokens),
        rounds,
    )
    engine = PyTorchEngine(model, dtype=torch.bfloat16 if bf16 else None)
    with asyncio.Runner() as runner:
        rows = [measure_task(model, engine, runner, task, rounds, peer) for task in tasks]
        runner.run(engine.close())
    return rows


def measure_task(
    model: GPT2LMHeadModel,
    engine: PyTorchEngine,
    runner: asyncio.Runner,
    task: Task,
    rounds: int,
    peer: float,
) -> dict[str, float]:
    reference = tokens_per_second(lambda p: transformers_generate(model, p, task.new_tokens), task, rounds)
    engine_speed = tokens_per_second(lambda p: runner.run(ours(engine, p, task.new_tokens)), task, rounds)
    return {
        "streams": task.streams,
        "chitchat": round(peer, 1),
        "transformers": round(reference, 1),
        "pytorch": round(engine_speed, 1),
        "over_chitchat": round(engine_speed / peer, 2),
        "over_transformers": round(engine_speed / reference, 2),
    }


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
