"""Generated tokens per second: our engines beside transformers' generate and the bare OpenVINO GenAI pipeline.

    python benchmarks/decode.py [--sizes 102m 19m] [--callers 1 8 32 64] [--whole-head] [--device cuda] [--json]

Random weights (12×768 with 102 M and 6×384 with 19 M parameters), a vocabulary of 21,128, fresh random prompts of
60 tokens in every round (a prefix cache must not help), replies of exactly 32 tokens, top-k 8. The contenders take
turns, forwards in one round and backwards in the next: all meet the same machine, and nobody always comes after
the same one. Each figure is the median of three rounds after one that warms up.
transformers answers all prompts as one batch in fp32, ours one asyncio caller each. GPT2-chitchat's loop (no cache)
answers one prompt at a time. The converted model leaves out what no text gives, as it does of any model with such a
vocabulary; with --whole-head it has all of it. CTranslate2 takes part where it is installed (`pip install
ctranslate2`). With --device cuda the pytorch engine (bf16, CUDA graphs) runs against transformers on the GPU, without
the engines of the CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import inspect
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from chatgpt2.checkpoint import quiet_transformers
from chatgpt2.engine.base import Engine, SamplingParams
from chatgpt2.engine.export import exported
from chatgpt2.engine.messages import Setup
from chatgpt2.engine.openvino import OpenVinoEngine
from chatgpt2.engine.pytorch import PyTorchEngine
from chatgpt2.engine.rows import Rows

VOCABULARY, WINDOW = 21128, 512
UNWRITTEN = range(13727, 21049)  # in bert-base-chinese: Chinese characters inside a word, which no text gives
SIZES = {"102m": (12, 768), "19m": (6, 384)}  # layers, embedding
PROMPT, REPLY, TOP_K = 60, 32, 8
HISTORY = 300  # tokens, for the first token with and without a cached prefix

Prompts = list[list[int]]
Contender = Callable[[Prompts], object]  # what it gives is awaited, where that is possible
EXACTLY = SamplingParams(
    temperature=1, top_k=TOP_K, top_p=1, repetition_penalty=1, min_new_tokens=REPLY, max_new_tokens=REPLY
)


def random_prompts(count: int, length: int = PROMPT) -> Prompts:
    """Of ids that a text may give: the first hundred of such a vocabulary are special tokens."""
    ids = torch.tensor([i for i in range(100, VOCABULARY) if i not in UNWRITTEN])
    return ids[torch.randint(len(ids), (count, length))].tolist()


def random_model(size: str) -> GPT2LMHeadModel:
    layers, embedding = SIZES[size]
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=WINDOW,
        n_layer=layers,
        n_embd=embedding,
        n_head=embedding // 64,
        bos_token_id=101,
        eos_token_id=102,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


@torch.inference_mode()
def chitchat(model: GPT2LMHeadModel, prompts: Prompts) -> None:
    """The algorithm of GPT2-chitchat's interact.py: the whole sequence again for every token."""
    for prompt in prompts:
        ids = torch.tensor([prompt], device=model.device)
        for _ in range(REPLY):
            logits = model(input_ids=ids, use_cache=False).logits[0, -1]
            logits[logits < logits.topk(TOP_K).values[-1]] = -torch.inf
            ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)[None]], dim=1)


@torch.inference_mode()
def transformers_generate(model: GPT2LMHeadModel, prompts: Prompts) -> None:
    ids = torch.tensor(prompts, device=model.device)
    model.generate(  # type: ignore[misc]
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=TOP_K,
        top_p=1.0,
        min_new_tokens=REPLY,
        max_new_tokens=REPLY,
        pad_token_id=0,
    )


def bare_pipeline(setup: Setup, rows: Rows) -> Contender:
    """OpenVINO GenAI driven by its own generate, with the settings of our engine."""
    import numpy as np
    import openvino_genai as genai
    from openvino import Tensor

    from chatgpt2.engine.pipeline import load

    pipeline = load(setup)
    config = genai.GenerationConfig()
    config.set_eos_token_id(0)
    config.ignore_eos = True
    config.max_new_tokens = config.min_new_tokens = REPLY
    config.do_sample, config.top_k, config.top_p, config.temperature = True, TOP_K, 1.0, 1.0

    def run(prompts: Prompts) -> None:
        tensors = [Tensor(np.array([rows.of_prompt(prompt)], dtype=np.int64)) for prompt in prompts]
        replies = pipeline.generate(tensors, [config] * len(prompts))
        assert all(len(reply.m_generation_ids[0]) == REPLY for reply in replies)

    return run


def ctranslate2_generate(model: GPT2LMHeadModel, folder: Path) -> Contender:
    import ctranslate2
    from ctranslate2.converters import TransformersConverter
    from transformers import BertTokenizerFast

    source = folder / "hugging-face"
    words = {f"[unused{i}]": i for i in range(VOCABULARY)}
    special = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    words = {word: i for word, i in words.items() if i not in special.values()} | special
    tokenizer = BertTokenizerFast(vocab=words, bos_token="[CLS]", eos_token="[SEP]")
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    TransformersConverter(str(source)).convert(str(folder / "ct2"), quantization="int8")
    generator = ctranslate2.Generator(
        str(folder / "ct2"), inter_threads=1, intra_threads=torch.get_num_threads()
    )
    names = {i: word for word, i in words.items()}

    def run(prompts: Prompts) -> None:
        generator.generate_batch(
            [[names[i] for i in prompt] for prompt in prompts],
            max_length=REPLY,
            min_length=REPLY,
            sampling_topk=TOP_K,
            include_prompt_in_result=False,
        )

    return run


@dataclass
class Clock:
    """When the tokens of each caller came, several in a delivery."""

    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)

    def percentiles(self) -> dict[str, float]:
        """Milliseconds."""
        out = {}
        for name, values in (("first_token", self.first), ("between_deliveries", self.between)):
            cuts = statistics.quantiles(values, n=20)
            out[f"{name}_p50_ms"], out[f"{name}_p95_ms"] = 1000 * statistics.median(values), 1000 * cuts[-1]
        return {name: round(value, 1) for name, value in out.items()}


async def call(engine: Engine, prompt: list[int], params: SamplingParams, clock: Clock) -> None:
    before, count = time.perf_counter(), 0
    async for step in engine.generate(prompt, params):
        now = time.perf_counter()
        (clock.between if count else clock.first).append(now - before)
        before, count = now, count + len(step.ids)
    assert count == params.max_new_tokens, count


async def together(engine: Engine, prompts: Prompts, clock: Clock) -> None:
    await asyncio.gather(*(call(engine, prompt, EXACTLY, clock) for prompt in prompts))


async def first_token(engine: Engine, rounds: int = 5) -> dict[str, float]:
    """Milliseconds to the first token of a 300-token history: not seen before, and one turn longer."""
    cold, warm = Clock(), Clock()
    one = SamplingParams(temperature=1, top_k=TOP_K, top_p=1, repetition_penalty=1, max_new_tokens=1)
    for _ in range(rounds):
        (history,) = random_prompts(1, HISTORY)
        await call(engine, history, one, cold)
        await call(engine, history + random_prompts(1, 10)[0], one, warm)
    cold_ms, warm_ms = (1000 * statistics.median(clock.first) for clock in (cold, warm))
    return {"cold_ms": round(cold_ms, 1), "warm_ms": round(warm_ms, 1), "ratio": round(cold_ms / warm_ms, 2)}


async def race(works: dict[str, Contender], callers: int, rounds: int) -> dict[str, float]:
    """Tokens per second of each. The loop that knows one prompt only takes part where there is one."""
    runners = {name: work for name, work in works.items() if callers == 1 or name != "chitchat"}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for lap in range(rounds + 1):
        for name in list(runners)[:: -1 if lap % 2 else 1]:
            took = await timed(runners[name], callers, 8 if callers == 1 and name != "chitchat" else 1)
            if lap:  # the first one warms up
                seconds[name].append(took)
    return {name: round(callers * REPLY / statistics.median(took), 1) for name, took in seconds.items()}


async def timed(work: Contender, callers: int, least: int) -> float:
    """Seconds of one time that all callers have a reply, of so many times at least, and of a second's worth."""
    took, times = 0.0, 0
    while times < least or took < 1:
        prompts = random_prompts(callers)
        began = time.perf_counter()
        replying = work(prompts)
        if inspect.isawaitable(replying):
            await replying
        took, times = took + time.perf_counter() - began, times + 1
    return took / times


@contextmanager
def contenders(
    size: str, options: argparse.Namespace, folder: Path, runner: asyncio.Runner
) -> Iterator[tuple[dict[str, Contender], OpenVinoEngine, dict[str, Any]]]:
    model = random_model(size)
    began = time.perf_counter()
    left_out = () if options.whole_head else UNWRITTEN
    files = exported(model, folder / size, weights=options.weights, banned_ids=left_out, left_out=left_out)
    facts: dict[str, Any] = {"export_seconds": round(time.perf_counter() - began, 1)}
    engine = OpenVinoEngine(files, window=WINDOW, vocabulary=VOCABULARY, max_batch=64)
    reference = PyTorchEngine(model, banned_ids=left_out, max_batch=64)
    works: dict[str, Contender] = {
        "chitchat": lambda prompts: chitchat(model, prompts),
        "transformers": lambda prompts: transformers_generate(model, prompts),
        "pytorch": lambda prompts: together(reference, prompts, Clock()),
        "bare": bare_pipeline(engine.setup, Rows.of(files)),
        "openvino": lambda prompts: together(engine, prompts, Clock()),
    }
    if importlib.util.find_spec("ctranslate2"):
        works["ctranslate2"] = ctranslate2_generate(model, folder / size)
    yield works, engine, facts
    runner.run(engine.close())
    runner.run(reference.close())


def on_a_gpu(size: str, options: argparse.Namespace, runner: asyncio.Runner) -> dict[str, Any]:
    model = random_model(size).to(options.device)
    engine = PyTorchEngine(model, max_batch=64, dtype=torch.bfloat16)
    works: dict[str, Contender] = {
        "chitchat": lambda prompts: chitchat(model, prompts),
        "transformers": lambda prompts: transformers_generate(model, prompts),
        "pytorch": lambda prompts: together(engine, prompts, Clock()),
    }
    speeds = {callers: runner.run(race(works, callers, options.rounds)) for callers in options.callers}
    first = runner.run(first_token(engine))
    runner.run(engine.close())
    return {"tokens_per_second": speeds, "first_token": first}


def measure(size: str, options: argparse.Namespace, folder: Path, runner: asyncio.Runner) -> dict[str, Any]:
    with contenders(size, options, folder, runner) as (works, engine, facts):
        speeds = {callers: runner.run(race(works, callers, options.rounds)) for callers in options.callers}
        clock = Clock()
        runner.run(together(engine, random_prompts(32), clock))
        first = runner.run(first_token(engine))
        facts["engine_mb"] = sum(child.memory_info().rss for child in psutil.Process().children()) >> 20
    return {"tokens_per_second": speeds, "of_32_callers": clock.percentiles(), "first_token": first, **facts}


def ratios(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The figures that count: ours over transformers, and openvino over the bare pipeline."""
    out: dict[str, float] = {}
    for size, result in results.items():
        for callers, speeds in result["tokens_per_second"].items():
            ours = speeds.get("openvino", speeds["pytorch"])
            out[f"ratio_{size}_{callers}"] = round(ours / speeds["transformers"], 2)
            if "bare" in speeds:
                out[f"native_{size}_{callers}"] = round(ours / speeds["bare"], 3)
    largest = next(iter(results.values()))
    return {**out, "warm_first_token_ratio": largest["first_token"]["ratio"]}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--weights", choices=["int8", "int4", "fp32"], default="int8")
    parser.add_argument("--whole-head", action="store_true", help="also what no text gives")
    parser.add_argument("--device", default="cpu", help="a GPU: cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner, quiet_transformers():
        if options.device == "cpu":
            results = {size: measure(size, options, Path(folder), runner) for size in options.sizes}
        else:
            results = {size: on_a_gpu(size, options, runner) for size in options.sizes}
    setting = {"weights": options.weights, "whole_head": options.whole_head}
    report = {**ratios(results), **setting, "threads": torch.get_num_threads()}
    if options.json:
        print(json.dumps({**report, "results": results}))
        return
    print("  ".join(f"{name} {value}" for name, value in report.items()))
    for size, result in results.items():
        for callers, speeds in result.pop("tokens_per_second").items():
            row = "  ".join(f"{name} {speed:g}" for name, speed in speeds.items())
            print(f"{size} × {callers}, tokens/s: {row}")
        print(f"{size}: {result}")


if __name__ == "__main__":
    main()
