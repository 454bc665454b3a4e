"""What the engine says: the same as transformers, alone and in company."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import chain, pairwise

import pytest
import torch
from callers import GREEDY, WILD, engine, reply, steps
from little_language import BANNED, CLS, SEP, VOCABULARY, WINDOW, prompts
from transformers import GPT2LMHeadModel

from chatgpt2.engine.base import SamplingParams
from chatgpt2.engine.gpt2 import Gpt2
from chatgpt2.engine.pytorch import PyTorchEngine
from chatgpt2.errors import EngineError

PROMPTS = prompts(40)


def generated(model: GPT2LMHeadModel, prompt: list[int], penalty: float = 1.0, tokens: int = 20) -> list[int]:
    """The greedy reply of transformers."""
    ids = torch.tensor([prompt])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        repetition_penalty=penalty,
        min_new_tokens=1,
        max_new_tokens=tokens,
        suppress_tokens=list(BANNED),
        eos_token_id=SEP,
        pad_token_id=0,
    )
    return [token for token in output[0, len(prompt) :].tolist() if token != SEP]


@pytest.fixture(scope="module")
def expected(model: GPT2LMHeadModel) -> list[list[int]]:
    return [generated(model, prompt) for prompt in PROMPTS]


def test_the_model_has_something_to_say(expected: list[list[int]]) -> None:
    """Or the comparisons below would be empty."""
    assert len({tuple(ids) for ids in expected}) > 15
    assert len({len(ids) for ids in expected}) > 5


async def test_greedy_equals_transformers_alone(model: GPT2LMHeadModel, expected: list[list[int]]) -> None:
    alone = engine(model)
    assert [await reply(alone, prompt, GREEDY) for prompt in PROMPTS] == expected
    await alone.close()


@pytest.mark.parametrize("max_batch", [1, 5, 64])
async def test_greedy_equals_transformers_in_company(
    model: GPT2LMHeadModel, expected: list[list[int]], max_batch: int
) -> None:
    """Callers arrive at random times, among others who sample wildly."""
    rng = random.Random(max_batch)
    shared = engine(model, max_batch=max_batch)
    async with asyncio.TaskGroup() as group:
        noise = [group.create_task(reply(shared, p, WILD, rng.random() / 10)) for p in PROMPTS]
        greedy = [group.create_task(reply(shared, p, GREEDY, rng.random() / 10)) for p in PROMPTS]
    assert [task.result() for task in greedy] == expected
    assert all(task.result() for task in noise)
    await shared.close()


async def test_the_repetition_penalty_covers_prompt_and_reply(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    params = replace(GREEDY, repetition_penalty=3.0)
    got = await asyncio.gather(*(reply(shared, prompt, params) for prompt in PROMPTS[:20]))
    assert got == [generated(model, prompt, 3.0) for prompt in PROMPTS[:20]]
    assert got != [generated(model, prompt) for prompt in PROMPTS[:20]]
    await shared.close()


async def test_a_seed_gives_the_same_reply_in_any_company(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    seeded = [SamplingParams(temperature=1, stop_ids=(SEP,), seed=seed) for seed in range(20)]
    alone = [await reply(shared, PROMPTS[0], params) for params in seeded]
    crowd = [reply(shared, prompt, WILD) for prompt in PROMPTS]
    together = await asyncio.gather(*(reply(shared, PROMPTS[0], params) for params in seeded), *crowd)
    assert list(together[: len(seeded)]) == alone
    assert len({tuple(ids) for ids in alone}) > 5
    await shared.close()


async def test_without_a_seed_replies_differ(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    got = await asyncio.gather(*(reply(shared, PROMPTS[0], WILD) for _ in range(10)))
    assert len({tuple(ids) for ids in got}) > 1
    await shared.close()


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30])
async def test_any_whole_number_is_a_seed(model: GPT2LMHeadModel, seed: int) -> None:
    shared = engine(model)
    params = replace(WILD, seed=seed)
    assert await reply(shared, PROMPTS[0], params) == await reply(shared, PROMPTS[0], params)
    await shared.close()


async def test_n_replies_share_the_reading_of_the_prompt(
    model: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    shared = engine(model, prefix_tokens=0)
    params = replace(WILD, seed=7, n=5)
    got = await steps(shared, PROMPTS[0], params)
    assert reads == [len(PROMPTS[0]) - 1]
    assert sorted(step.index for step in got if step.finish) == [0, 1, 2, 3, 4]
    by_index = [[t for step in got if step.index == i for t in step.ids] for i in range(5)]
    assert len({tuple(ids) for ids in by_index}) > 1
    assert by_index[0] == await reply(shared, PROMPTS[0], replace(params, n=1))
    await shared.close()


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of prompt ids of each reading, as they happen."""
    reads: list[int] = []
    read = Gpt2.read

    def counted(self: Gpt2, cache: object, row: int, start: int, end: int) -> None:
        reads.append(end - start)
        read(self, cache, row, start, end)  # type: ignore[arg-type]

    monkeypatch.setattr(Gpt2, "read", counted)
    return reads


async def test_the_next_turn_reads_only_what_is_new(
    model: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    talk, fresh = engine(model), engine(model, prefix_tokens=0)
    prompt = PROMPTS[0]
    for message in ([9, 10, SEP], [30, SEP], [12, SEP]):
        got = await reply(talk, prompt, GREEDY)
        assert got == await reply(fresh, prompt, GREEDY)
        prompt = [*prompt, *got, SEP, *message]
    assert reads[0] == reads[1] == len(PROMPTS[0]) - 1
    assert max(reads[2::2]) <= 5 < min(reads[3::2])
    assert talk.reused_tokens == sum(reads[1::2]) - sum(reads[::2])
    assert fresh.reused_tokens == 0
    await talk.close()
    await fresh.close()


async def test_what_is_kept_for_the_next_turn_is_bounded(model: GPT2LMHeadModel) -> None:
    shared = engine(model, prefix_tokens=100)
    await asyncio.gather(*(reply(shared, prompt, WILD) for prompt in PROMPTS))
    assert 0 < shared._worker._batch._prefixes.tokens <= 100
    await shared.close()


async def test_banned_ids_are_never_said(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    hot = SamplingParams(temperature=10, top_k=0, top_p=1, repetition_penalty=0.1, max_new_tokens=40)
    said = set().union(*await asyncio.gather(*(reply(shared, p, hot) for p in PROMPTS)))
    assert not said & set(BANNED)
    assert SEP in said  # which is not a stop id here
    await shared.close()


async def test_no_reply_is_empty_unless_asked_for(model: GPT2LMHeadModel) -> None:
    """A prompt that ends in the middle of a turn makes the end of the turn the most likely token."""
    shared = engine(model)
    ended = [[CLS, word] for word in range(4, VOCABULARY) if (word - 4) % 5 == 0]
    for least in (0, 1, 4):
        params = replace(GREEDY, min_new_tokens=least)
        lengths = [len(ids) for ids in await asyncio.gather(*(reply(shared, p, params) for p in ended))]
        assert min(lengths) >= least and (least or not any(lengths))
    await shared.close()


async def test_stop_ids_end_the_reply_and_are_not_part_of_it(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    whole = await asyncio.gather(*(reply(shared, prompt, GREEDY) for prompt in PROMPTS))
    prompt, said = next(pair for pair in zip(PROMPTS, whole, strict=True) if len(pair[1]) >= 4)
    got = await steps(shared, prompt, replace(GREEDY, stop_ids=(SEP, said[3], 10**9, -1)))
    assert [token for step in got for token in step.ids] == said[: said.index(said[3])]
    assert [step.finish for step in got if step.finish] == ["stop"] and got[-1].ids == []
    await shared.close()


async def test_a_long_reply_is_cut(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    got = await steps(shared, PROMPTS[0], replace(GREEDY, stop_ids=(), max_new_tokens=7))
    assert [(len(step.ids), step.finish) for step in got] == [(1, None)] * 6 + [(1, "length")]
    await shared.close()


async def test_a_reply_ends_at_the_end_of_the_window(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    prompt = (PROMPTS[0] * 20)[: WINDOW - 3]
    got = await steps(shared, prompt, replace(GREEDY, stop_ids=(), min_new_tokens=40, max_new_tokens=50))
    assert [token for step in got for token in step.ids] == generated(model, prompt, tokens=3)
    assert got[-1].finish == "length"
    await shared.close()


async def test_no_ngram_is_repeated(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    free = replace(GREEDY, stop_ids=(), max_new_tokens=40)

    def pairs(ids: list[int]) -> list[tuple[int, int]]:
        return list(pairwise(ids))

    loose = await asyncio.gather(*(reply(shared, p, free) for p in PROMPTS))
    strict = await asyncio.gather(*(reply(shared, p, replace(free, no_repeat_ngram=2)) for p in PROMPTS))
    assert any(len(set(pairs(ids))) < len(pairs(ids)) for ids in loose)
    assert all(len(set(pairs(ids))) == len(pairs(ids)) for ids in strict)
    await shared.close()


async def test_when_everything_is_filtered_the_best_token_stays(model: GPT2LMHeadModel) -> None:
    """All ids but two are banned and none may come twice: the third token breaks that rule, not the reply."""
    narrow = PyTorchEngine(model, banned_ids=[i for i in range(VOCABULARY) if i not in (20, 21)])
    got = await reply(narrow, PROMPTS[0], SamplingParams(no_repeat_ngram=1, max_new_tokens=6))
    assert len(got) == 6 and set(got) == {20, 21} == set(got[:2])
    await narrow.close()


async def test_first_tokens_follow_the_distribution_of_the_model(model: GPT2LMHeadModel) -> None:
    """Chi-square over 1,600 seeded draws at the 99.9 % point, rare tokens taken together."""
    shared, prompt = engine(model), [*PROMPTS[0], 17]
    params = SamplingParams(temperature=1.5, top_k=0, top_p=1, repetition_penalty=1, max_new_tokens=1, n=32)
    drawn = await asyncio.gather(*(reply(shared, prompt, replace(params, seed=s)) for s in range(50)))
    counts = torch.tensor(list(chain(*drawn))).bincount(minlength=VOCABULARY)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
        logits[list(BANNED)] = -torch.inf
    expected = (logits / 1.5).softmax(-1) * 1600
    common = expected >= 5
    got = torch.cat([counts[common], counts[~common].sum().view(1)])
    want = torch.cat([expected[common], expected[~common].sum().view(1)])
    chi_square, freedom = ((got - want) ** 2 / want).sum().item(), len(want) - 1
    assert freedom >= 4
    # Wilson-Hilferty: the 99.9 % point of chi-square with this many degrees of freedom
    assert chi_square < freedom * (1 - 2 / (9 * freedom) + 3.09 * (2 / (9 * freedom)) ** 0.5) ** 3
    await shared.close()


async def test_bfloat16_speaks_the_same_language(model: GPT2LMHeadModel) -> None:
    rough = PyTorchEngine(model, banned_ids=BANNED, dtype=torch.bfloat16)
    got = await asyncio.gather(*(reply(rough, prompt, GREEDY) for prompt in PROMPTS))
    same = sum(ids == generated(model, prompt) for ids, prompt in zip(got, PROMPTS, strict=True))
    assert same > len(PROMPTS) // 2
    await rough.close()


@pytest.mark.parametrize(
    ("prompt", "params", "words"),
    [
        ([], GREEDY, "empty"),
        ([5] * WINDOW, GREEDY, f"{WINDOW} tokens.*window has {WINDOW}.*at most {WINDOW - 1}"),
        ([5, VOCABULARY], GREEDY, f"id {VOCABULARY} .* vocabulary of {VOCABULARY}"),
        ([5, -1], GREEDY, "id -1"),
        ([5], replace(GREEDY, n=33), "33 replies.*at most 32"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    model: GPT2LMHeadModel, prompt: list[int], params: SamplingParams, words: str
) -> None:
    with pytest.raises(EngineError, match=words):
        await reply(engine(model), prompt, params)


def test_wrong_bans_are_refused(model: GPT2LMHeadModel) -> None:
    with pytest.raises(EngineError, match=r"banned id 60 .* vocabulary of 60"):
        PyTorchEngine(model, banned_ids=[3, 60])
    with pytest.raises(EngineError, match="every token"):
        PyTorchEngine(model, banned_ids=range(60))
