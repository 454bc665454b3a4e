"""The openvino engine says what the reference says, to whoever asked, whatever else goes on."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from callers import ENDLESS, GREEDY, WILD, engine, engine_threads, reply, steps
from first_tokens import SETTINGS, assert_alike, draws
from little_language import BANNED, SEP, VOCABULARY, WINDOW, prompts
from storms import CALLERS, storm
from transformers import GPT2LMHeadModel

from chatgpt2.engine.base import Engine, SamplingParams, Weights, check
from chatgpt2.engine.export import exported
from chatgpt2.errors import EngineBusy, EngineError

pytest.importorskip("openvino_genai", reason="openvino-genai is not installed")

from chatgpt2.engine.child import Child
from chatgpt2.engine.messages import Add
from chatgpt2.engine.openvino import EXACT, FAST, OpenVinoEngine, _Replies

PROMPTS = prompts(12, seed=5)


@pytest.fixture(scope="session")
def files(model: GPT2LMHeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(model, tmp_path_factory.mktemp("fp32"), banned_ids=BANNED, weights="fp32")


def serve(files: Path, **options: Any) -> OpenVinoEngine:
    setting = {"window": WINDOW, "vocabulary": VOCABULARY, "threads": 1, "properties": EXACT, **options}
    return OpenVinoEngine(files, **setting)


@pytest.fixture
async def shared(files: Path) -> AsyncIterator[OpenVinoEngine]:
    made = serve(files)
    yield made
    await made.close()
    assert not engine_threads()


async def until_idle(shared: OpenVinoEngine) -> None:
    worker = shared._worker
    async with asyncio.timeout(20):
        while len(worker._batch) or worker._running or worker._waiting or worker._dropped:
            await asyncio.sleep(0.001)


async def test_greedy_replies_are_those_of_the_reference(
    shared: OpenVinoEngine, model: GPT2LMHeadModel
) -> None:
    reference, many = engine(model), prompts(60, seed=3)
    for params in (GREEDY, ENDLESS, replace(GREEDY, repetition_penalty=1.3, min_new_tokens=4)):
        got = await asyncio.gather(*(steps(shared, prompt, params) for prompt in many))
        wanted = await asyncio.gather(*(steps(reference, prompt, params) for prompt in many))
        assert [_flat(reply) for reply in got] == [_flat(reply) for reply in wanted]
    await reference.close()


def _flat(reply: Sequence[Any]) -> tuple[list[int], str | None]:
    return [token for step in reply for token in step.ids], reply[-1].finish


@pytest.mark.parametrize("weights", ["int8", "int4"])
async def test_small_weights_say_nearly_the_same(
    model: GPT2LMHeadModel, endless: list[list[int]], tmp_path: Path, weights: Weights
) -> None:
    files = exported(model, tmp_path, banned_ids=BANNED, weights=weights)
    small = serve(files, properties=FAST)
    got = [await reply(small, prompt, ENDLESS) for prompt in PROMPTS]
    same = sum(a == b for said, due in zip(got, endless, strict=True) for a, b in zip(said, due, strict=True))
    assert same / sum(map(len, endless)) > 0.9
    await small.close()


@pytest.mark.parametrize(("seed", "rows", "kept"), [(0, 3, 0), (1, 16, 1000), (2, 64, 16_384), (3, 16, 0)])
async def test_everyone_gets_their_own_tokens_in_order_once(
    files: Path, endless: list[list[int]], seed: int, rows: int, kept: int
) -> None:
    """1,000 requests in four storms; OpenVINO raises, and its process is killed. Nothing is left behind."""
    rng, open_files = random.Random(seed), psutil.Process().num_fds()
    shared = serve(files, max_batch=rows, prefix_tokens=kept)
    mishaps = {number: rng.random() < 0.5 for number in rng.sample(range(CALLERS * 4 // 5), 3)}
    processes = {process(shared)}

    def befall(number: int) -> None:
        child = shared._replies._child
        due = next((each for each in mishaps if each <= number), None)
        # Not just after the last one, nor where nobody is answered: nobody would notice.
        if due is None or child is None or not child.alive or not len(shared._replies):
            return
        with suppress(psutil.NoSuchProcess):
            processes.add(psutil.Process(child._process.pid))
        if mishaps.pop(due):
            child._process.kill()
        else:
            child.hint([Add(2**40, [5], ENDLESS, 0, 0)])  # no room for a reply: OpenVINO raises

    ended = await storm(shared, rng, list(zip(PROMPTS, endless, strict=True)), ENDLESS, befall)
    assert all(ended[why] for why in ("complete", "left", "cancelled", "failed"))
    await until_idle(shared)
    every_place = [reply(shared, PROMPTS[i % len(PROMPTS)], ENDLESS) for i in range(rows)]
    assert await asyncio.gather(*every_place) == [endless[i % len(PROMPTS)] for i in range(rows)]
    assert len(engine_threads()) == 1
    processes.add(process(shared))
    assert len(processes) > 1 and [each for each in processes if each.is_running()] == [process(shared)]
    await shared.close()
    assert not engine_threads() and not any(each.is_running() for each in processes)
    assert psutil.Process().num_fds() <= open_files


async def test_a_resting_engine_is_asked_at_once_for_all_who_come_together(
    monkeypatch: pytest.MonkeyPatch, shared: OpenVinoEngine, endless: list[list[int]]
) -> None:
    await reply(shared, PROMPTS[0], replace(ENDLESS, max_new_tokens=1))
    async with asyncio.timeout(20):
        while not shared._worker._resting:
            await asyncio.sleep(0.001)
    sent: list[tuple[str, Any]] = []
    write = Child._write

    def note(child: Child, message: Any) -> None:
        sent.append((threading.current_thread().name, message))
        write(child, message)

    monkeypatch.setattr(Child, "_write", note)
    assert await asyncio.gather(*(reply(shared, prompt, ENDLESS) for prompt in PROMPTS)) == endless
    assert [(name, len(message)) for name, message in sent] == [("MainThread", len(PROMPTS))]


async def test_who_asks_a_process_that_has_just_died_is_told_or_answered(
    monkeypatch: pytest.MonkeyPatch, shared: OpenVinoEngine, endless: list[list[int]]
) -> None:
    await reply(shared, PROMPTS[0], replace(ENDLESS, max_new_tokens=1))
    monkeypatch.setattr(Child, "alive", True)  # it is not noticed yet
    assert shared._replies._child is not None
    died = shared._replies._child._process
    died.kill()
    died.wait()
    with pytest.raises(EngineError, match="was killed by signal 9"):
        await reply(shared, PROMPTS[0], ENDLESS)
    assert await reply(shared, PROMPTS[0], ENDLESS) == endless[0]


async def test_nobody_waits_for_tokens_that_are_being_gathered(
    monkeypatch: pytest.MonkeyPatch, files: Path
) -> None:
    monkeypatch.setattr(_Replies, "module", "fakes.gathering_pipeline")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    gathering = serve(files, max_batch=2)
    async with aclosing(gathering.generate(PROMPTS[0], ENDLESS)) as first:
        await anext(first)
        async with aclosing(gathering.generate(PROMPTS[1], ENDLESS)) as second:
            assert not (await anext(second)).finish  # it was taken in meanwhile
        third = replace(ENDLESS, max_new_tokens=2)
        assert len(await reply(gathering, PROMPTS[2], third)) == 2  # its place was free meanwhile
        rest = [step async for step in first]
        assert sum(len(step.ids) for step in rest) == ENDLESS.max_new_tokens - 1
        assert len(rest) < 12  # tokens were gathered all the same, but for those who came and went
    await gathering.close()


def process(engine: OpenVinoEngine) -> psutil.Process:
    """The engine's own: others of this program may have theirs."""
    replies = engine._worker._batch
    assert isinstance(replies, _Replies) and replies._child is not None
    return psutil.Process(replies._child._process.pid)


async def kill(child: psutil.Process) -> None:
    """Kill it and wait until it is dead, but leave it to its parent to learn of that."""
    child.kill()
    await asyncio.to_thread(os.waitid, os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines made from now on have a process that begins long replies and does not go on, and whose steps fail as
    soon as twelve of them are asked for."""
    monkeypatch.setattr(_Replies, "module", "fakes.failing_pipeline")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


SHORT = replace(ENDLESS, max_new_tokens=5)


async def test_a_failed_step_reaches_every_caller_and_the_engine_recovers(
    failing: None, files: Path, endless: list[list[int]]
) -> None:
    shared = serve(files)
    results = await asyncio.gather(*(reply(shared, p, ENDLESS) for p in PROMPTS), return_exceptions=True)
    assert all(isinstance(error, EngineError) and "Check failed at src" in str(error) for error in results)
    assert await reply(shared, PROMPTS[0], SHORT) == endless[0][:5]
    await shared.close()


async def test_a_cancelled_request_frees_its_place(
    failing: None, files: Path, endless: list[list[int]]
) -> None:
    """The only place, and who holds it would hold it for ever."""
    narrow = serve(files, max_batch=1)
    async with aclosing(narrow.generate(PROMPTS[0], ENDLESS)) as stream:
        await anext(stream)
        waiting = asyncio.create_task(reply(narrow, PROMPTS[1], SHORT))
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        assert await waiting == endless[1][:5]
    await narrow.close()


async def test_a_killed_process_fails_its_replies_and_who_waits_gets_a_new_process(
    failing: None, files: Path, endless: list[list[int]]
) -> None:
    narrow = serve(files, max_batch=2)
    async with (
        aclosing(narrow.generate(PROMPTS[0], ENDLESS)) as one,
        aclosing(narrow.generate(PROMPTS[1], ENDLESS)) as two,
    ):
        assert [(await anext(stream)).ids for stream in (one, two)] == [endless[0][:1], endless[1][:1]]
        waiting = asyncio.create_task(reply(narrow, PROMPTS[2], SHORT))
        first = process(narrow)
        first.kill()
        for stream in (one, two):
            with pytest.raises(EngineError, match="the engine's process was killed by signal 9"):
                async for _ in stream:
                    pass
    assert await waiting == endless[2][:5]
    assert await reply(narrow, PROMPTS[3], SHORT) == endless[3][:5]
    assert not first.is_running() and process(narrow).is_running()
    await narrow.close()


async def test_nobody_notices_a_process_that_died_while_nobody_asked(
    shared: OpenVinoEngine, endless: list[list[int]]
) -> None:
    await reply(shared, PROMPTS[0], ENDLESS)
    await kill(process(shared))
    assert await reply(shared, PROMPTS[0], ENDLESS) == endless[0]


async def test_who_asks_whether_it_would_answer_has_a_dead_process_started_anew(
    shared: OpenVinoEngine,
) -> None:
    await check(shared)
    first = process(shared)
    await kill(first)
    await check(shared)
    assert process(shared).pid != first.pid and process(shared).is_running()


async def test_a_reply_goes_on_where_every_process_is_told_to_end(
    shared: OpenVinoEngine, endless: list[list[int]]
) -> None:
    """As systemd does: the service stops when its replies are done, and so must the engine."""
    got: list[int] = []
    async with aclosing(shared.generate(PROMPTS[0], ENDLESS)) as stream:
        async for step in stream:
            if not got:
                process(shared).terminate()
            got += step.ids
    assert got == endless[0]
    assert process(shared).is_running()


async def test_an_engine_that_cannot_recover_says_so(files: Path, tmp_path: Path) -> None:
    moving = tmp_path / "files"
    shutil.copytree(files, moving)
    shared = serve(moving)
    await check(shared)
    await kill(process(shared))
    shutil.rmtree(moving)
    with pytest.raises(EngineError, match="reply could not be generated"):
        await check(shared)
    for _ in range(2):
        with pytest.raises(EngineError, match="reply could not be generated: RuntimeError"):
            await reply(shared, PROMPTS[0], GREEDY)
    await shared.close()


async def test_the_process_ends_with_its_engine(files: Path) -> None:
    """However that ends: closed with and without having been asked, forgotten, killed."""
    closed, used = serve(files), serve(files)
    gone = [process(closed), process(used)]
    await closed.close()
    await reply(used, PROMPTS[0], GREEDY)
    del used
    gc.collect()
    async with asyncio.timeout(60):
        while any(child.is_running() for child in gone):
            await asyncio.sleep(0.01)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from chatgpt2.engine.openvino import OpenVinoEngine\n"
        f"engine = OpenVinoEngine(Path({str(files)!r}), window={WINDOW}, vocabulary={VOCABULARY}, threads=1)\n"
        "assert 'openvino' not in sys.modules  # it would hold the interpreter for milliseconds\n"
        "import psutil\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    async with asyncio.timeout(60):
        while psutil.pid_exists(int(said.stdout)):
            await asyncio.sleep(0.01)


async def test_seeds_make_replies_repeatable_and_their_absence_different(shared: OpenVinoEngine) -> None:
    seeded = replace(WILD, seed=7, max_new_tokens=20, stop_ids=())  # short replies may be alike by chance
    assert await reply(shared, PROMPTS[0], seeded) == await reply(shared, PROMPTS[0], seeded)
    fresh = {tuple(await reply(shared, PROMPTS[0], replace(seeded, seed=None))) for _ in range(5)}
    assert len(fresh) == 5
    several: dict[int, list[int]] = {}
    for step in await steps(shared, PROMPTS[0], replace(seeded, n=4)):
        several.setdefault(step.index, []).extend(step.ids)
    assert len({tuple(ids) for ids in several.values()}) == 4


async def test_what_cannot_be_answered_says_why(files: Path) -> None:
    narrow = serve(files, max_batch=1, max_waiting=1)
    for prompt, params, why in (
        ([], GREEDY, "empty"),
        ([5] * WINDOW, GREEDY, "window"),
        ([VOCABULARY], GREEDY, "outside"),
        ([5], replace(GREEDY, n=2), "at most 1"),
        ([5], replace(GREEDY, no_repeat_ngram=2), "no_repeat_ngram"),
    ):
        with pytest.raises(EngineError, match=why):
            await reply(narrow, prompt, params)
    tasks = [asyncio.create_task(reply(narrow, [5], ENDLESS)) for _ in range(20)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(result, EngineBusy) for result in results)
    await narrow.close()


async def test_settings_too_small_for_single_precision_harm_nobody(
    shared: OpenVinoEngine, endless: list[list[int]]
) -> None:
    other = asyncio.create_task(reply(shared, PROMPTS[0], ENDLESS))
    tiny = replace(GREEDY, temperature=1e-50, top_p=1e-50, repetition_penalty=1e-50)
    assert await reply(shared, PROMPTS[1], tiny)
    assert await other == endless[0]


async def test_stop_ids_that_the_model_does_not_have_harm_nobody(
    shared: OpenVinoEngine, endless: list[list[int]]
) -> None:
    other = asyncio.create_task(reply(shared, PROMPTS[0], ENDLESS))
    for strange in (-1, VOCABULARY, 2**40, 2**63):
        assert await reply(shared, PROMPTS[1], replace(ENDLESS, stop_ids=(strange,))) == endless[1]
    assert await other == endless[0]


async def test_the_process_does_not_import_from_where_one_happens_to_be(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    await serve(files).close()


async def test_files_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot load .*delete that folder"):
        serve(tmp_path)


async def test_a_reply_ends_at_the_window(shared: OpenVinoEngine) -> None:
    last = (await steps(shared, [5] * (WINDOW - 3), replace(ENDLESS, max_new_tokens=50)))[-1]
    assert last.finish == "length"
    assert len(await reply(shared, [5] * (WINDOW - 3), replace(ENDLESS, max_new_tokens=50))) == 3


async def test_banned_and_early_stop_ids_are_never_sampled(shared: OpenVinoEngine) -> None:
    hot = replace(WILD, temperature=10, max_new_tokens=40, min_new_tokens=40)
    said = await asyncio.gather(*(reply(shared, prompt, hot) for prompt in prompts(40)))
    # Below 1 the penalty raises what was seen before, [CLS] of the prompt among it.
    raised = replace(hot, repetition_penalty=1e-5)
    said += await asyncio.gather(*(reply(shared, prompt, raised) for prompt in prompts(40)))
    assert not {token for ids in said for token in ids} & {*BANNED, SEP}


async def test_what_genai_cannot_do_goes_to_the_fallback(files: Path, model: GPT2LMHeadModel) -> None:
    made: list[Engine] = []

    def fallback() -> Engine:
        made.append(engine(model))
        return made[-1]

    both = serve(files, fallback=fallback)
    params = replace(ENDLESS, no_repeat_ngram=2)
    said = await asyncio.gather(*(reply(both, prompt, params) for prompt in PROMPTS))
    for ids in said:
        assert not [pair for pair, times in Counter(pairwise(ids)).items() if times > 1]
    assert len(made) == 1
    await both.close()
    assert not engine_threads()


@pytest.mark.parametrize("params", SETTINGS)
async def test_sampling_means_what_it_means_to_the_reference(
    shared: OpenVinoEngine, model: GPT2LMHeadModel, params: SamplingParams
) -> None:
    reference = engine(model)
    assert_alike(await draws(shared, PROMPTS[0], params), await draws(reference, PROMPTS[0], params))
    await reference.close()
