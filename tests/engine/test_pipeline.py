"""What the openvino engine's process does with its pipeline."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from callers import ENDLESS
from little_language import BANNED, WINDOW, prompts
from transformers import GPT2LMHeadModel

from chatgpt2.engine.export import exported
from chatgpt2.engine.messages import Add, Drop, Setup

pytest.importorskip("openvino_genai", reason="openvino-genai is not installed")

from chatgpt2.engine.openvino import EXACT
from chatgpt2.engine.pipeline import Replies


def replies_of(model: GPT2LMHeadModel, folder: Path, tokens_per_step: int = 512, most: int = 8) -> Replies:
    files = exported(model, folder, banned_ids=BANNED, weights="fp32")
    properties = EXACT | {"INFERENCE_NUM_THREADS": "1"}
    return Replies(Setup(str(files), WINDOW, most, 4 * WINDOW, tokens_per_step, properties))


def test_who_begins_or_ends_is_told_and_the_others_tokens_wait(
    model: GPT2LMHeadModel, tmp_path: Path
) -> None:
    replies = replies_of(model, tmp_path)
    first, second = prompts(2, seed=1)
    replies.do(Add(1, first, ENDLESS, 9, 0))
    assert replies.step() == [1] and replies.step() == [] == replies.step()
    replies.do(Add(2, second, ENDLESS, 3, 0))
    assert replies.step() == [2]
    assert [(said.reply, len(said.ids), said.finish) for said in replies.said([2])] == [(2, 1, None)]
    assert replies.step() == [] and replies.step() == [2]
    assert [(said.reply, len(said.ids), said.finish) for said in replies.said([2])] == [(2, 2, "length")]
    assert [(said.reply, len(said.ids), said.finish) for said in replies.said()] == [(1, 6, None)]
    for number in range(3, 103):
        replies.do(Add(number, first, ENDLESS, 9, 0))
    assert replies.between == 0.25
    for number in range(3, 103):
        replies.do(Drop(number))
    assert replies.between == 0.05 and not replies.idle


def test_a_prompt_that_was_read_before_is_not_read_again(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    replies = replies_of(model, tmp_path, tokens_per_step=8)

    def steps(name: int, prompt: list[int]) -> int:
        """Until the first token."""
        replies.do(Add(name, prompt, ENDLESS, 2, 0))
        first = next(count for count in range(1, 100) if replies.step())
        while not replies.idle:
            replies.step()
            list(replies.said())
        return first

    said, other = [5, 6, 7, 8] * 18, [9, 10, 11, 12] * 18
    assert steps(1, said) == 9
    assert steps(2, said) <= 3
    assert steps(3, [*said, 9]) <= 3, "what goes on from there is read from there"
    assert steps(4, other) == 9


@pytest.mark.parametrize("seed", [8, 14, 17])
def test_who_leaves_before_the_first_token_spoils_nothing(
    model: GPT2LMHeadModel, endless: list[list[int]], tmp_path: Path, seed: int
) -> None:
    """GenAI keeps what it was about to read as if it had read it. With these seeds that once made wrong tokens."""
    replies, rng = replies_of(model, tmp_path, most=64), random.Random(seed)
    known = [(prompts(12, seed=5)[i], endless[i]) for i in (1, 8)]  # they end alike
    going: dict[int, tuple[list[int], list[int]]] = {}
    names = itertools.count()
    for _ in range(1500):
        if replies.idle or rng.random() < 0.05:
            for name in itertools.islice(names, min(rng.randint(1, 40), 64 - len(going))):
                prompt, due = rng.choice(known)
                replies.do(Add(name, prompt, ENDLESS, rng.randint(1, 60), 0))
                going[name] = due, []
        leaving = rng.randint(1, len(going)) if rng.random() < 0.03 else 0
        for left in rng.sample(list(going), leaving):
            replies.do(Drop(left))
            del going[left]
        if not replies.idle:
            replies.step()
        for said in replies.said():
            due, got = going[said.reply]
            got += said.ids
            assert got == due[: len(got)]
            if said.finish:
                del going[said.reply]


def test_a_flood_of_callers_who_leave_at_once_harms_nobody(
    model: GPT2LMHeadModel, endless: list[list[int]], tmp_path: Path
) -> None:
    """What they asked is not even read where there is no room for it."""
    replies, rng, names = (
        replies_of(model, tmp_path, tokens_per_step=64),
        random.Random(0),
        itertools.count(1),
    )
    for prompt, due in zip(prompts(12, seed=5), endless, strict=True):
        replies.do(Add(0, prompt, ENDLESS, min(60, WINDOW - len(prompt)), 0))
        got: list[int] = []
        while len(got) < len(due):
            for name in itertools.islice(names, 6):
                replies.do(Add(name, [rng.randrange(4, 60) for _ in range(WINDOW - 9)], ENDLESS, 9, 0))
            replies.step()
            for left in range(name - 5, name + 1):
                replies.do(Drop(left))
            got += [token for said in replies.said() for token in said.ids]
            assert got == due[: len(got)] and len(replies._unwanted) < 8
    while not replies.idle:
        replies.step()


def test_nothing_is_left_of_a_thousand_replies(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    """Slots and blocks of the cache are free again, whoever finished and whoever left."""
    replies = replies_of(model, tmp_path)
    rng, many = random.Random(0), prompts(20, seed=1)
    going: set[int] = set()
    for name in range(1000):
        replies.do(Add(name, rng.choice(many), ENDLESS, rng.randint(1, 30), name))
        going.add(name)
        while len(going) >= 8 or (going and rng.random() < 0.4):
            if rng.random() < 0.1:
                left = rng.choice(sorted(going))
                going.discard(left)
                replies.do(Drop(left))
            replies.step()
            going -= {said.reply for said in replies.said() if said.finish}
    for left in going:
        replies.do(Drop(left))
    while not replies.idle:
        replies.step()
    assert not replies.pipeline.has_non_finished_requests()
    for name in range(1000, 1008):  # as many as may be at once, each as long as the window
        replies.do(Add(name, [5] * (WINDOW - 60), ENDLESS, 60, name))
    lengths = dict.fromkeys(range(1000, 1008), 0)
    for _ in range(200):
        if replies.idle:
            break
        replies.step()
        for said in replies.said():
            lengths[said.reply] += len(said.ids)
    assert set(lengths.values()) == {60}
