"""Ids that neither prompts nor replies hold are left out of a converted model, and nobody notices."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from callers import ENDLESS, GREEDY, WILD, reply
from hypothesis import given
from hypothesis import strategies as st
from little_language import BANNED, SEP, VOCABULARY, WINDOW, prompts
from torch import nn
from transformers import GPT2LMHeadModel

from chatgpt2.engine.openvino import EXACT, OpenVinoEngine
from chatgpt2.engine.pytorch import PyTorchEngine
from chatgpt2.engine.rows import Rows, kept_ranges
from chatgpt2.errors import EngineError, PromptError

LEFT_OUT = (0, *range(20, 25), VOCABULARY + 6, VOCABULARY + 7)
SPOKEN = [
    i for i in range(VOCABULARY + len(LEFT_OUT)) if i not in LEFT_OUT
]  # of each id that the language has
NEVER = (*(SPOKEN[i] for i in BANNED), *LEFT_OUT)


@given(st.sets(st.integers(-2, 42)), st.integers(0, 40))
def test_what_is_left_are_all_the_others(left_out: set[int], vocabulary: int) -> None:
    ranges = kept_ranges(left_out, vocabulary)
    kept = [i for i in range(vocabulary) if i not in left_out]
    assert [i for a, b in ranges for i in range(a, b)] == kept
    assert all(end < begin for (_, end), (begin, _) in pairwise(ranges))
    rows = Rows(ranges)
    assert rows.of_prompt(kept) == list(range(len(kept))) and rows.ids(range(len(kept))) == kept
    assert rows.of_stops([*left_out, *kept[:2]]) == tuple(range(len(kept[:2])))


def test_files_say_which_ids_they_have(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot load .* delete that folder.*export\.json"):
        Rows.of(tmp_path)
    (tmp_path / "export.json").write_text(json.dumps({"kept": [[1, 3]]}))
    assert Rows.of(tmp_path).of_prompt([2, 1]) == [1, 0]


@pytest.fixture(scope="module")
def gapped(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """The model with more ids, which would win every time if they could."""
    wide = copy.deepcopy(model)
    rows = torch.full((len(SPOKEN) + len(LEFT_OUT), model.config.n_embd), 9.0)
    rows[SPOKEN] = model.transformer.wte.weight.detach()
    wide.transformer.wte.weight = wide.lm_head.weight = nn.Parameter(rows)
    wide.config.vocab_size = len(rows)
    return wide


@pytest.mark.skipif(
    importlib.util.find_spec("openvino_genai") is None, reason="openvino-genai is not installed"
)
@pytest.mark.parametrize("tied", [True, False])
async def test_replies_are_those_of_the_whole_model(
    gapped: GPT2LMHeadModel, endless: list[list[int]], tmp_path: Path, tied: bool
) -> None:
    from chatgpt2.engine.export import exported

    if not tied:
        gapped = copy.deepcopy(gapped)
        gapped.lm_head.weight = nn.Parameter(gapped.lm_head.weight.detach().clone())
        gapped.config.tie_word_embeddings = False
    asked = [[SPOKEN[i] for i in prompt] for prompt in prompts(12, seed=5)]
    due = [[SPOKEN[i] for i in answer] for answer in endless]
    reference = PyTorchEngine(gapped, banned_ids=NEVER)
    assert [await reply(reference, prompt, ENDLESS) for prompt in asked] == due
    files = exported(gapped, tmp_path / "few", banned_ids=NEVER, left_out=LEFT_OUT, weights="fp32")
    whole = exported(gapped, tmp_path / "all", banned_ids=NEVER, weights="fp32")
    spared = (whole / "openvino_model.bin").stat().st_size - (files / "openvino_model.bin").stat().st_size
    assert spared == 4 * len(LEFT_OUT) * (
        gapped.config.n_embd + 1
    )  # rows, once where they are equal, and biases
    vocabulary = gapped.config.vocab_size
    few = OpenVinoEngine(files, window=WINDOW, vocabulary=vocabulary, threads=1, properties=EXACT)
    assert await asyncio.gather(*(reply(few, prompt, ENDLESS) for prompt in asked)) == due
    ending = replace(GREEDY, stop_ids=(LEFT_OUT[1], SPOKEN[SEP]))
    for prompt in asked[:3]:
        assert await reply(few, prompt, ending) == await reply(reference, prompt, ending)
    hot = replace(WILD, temperature=10, repetition_penalty=0.5, max_new_tokens=40, min_new_tokens=40)
    hot = replace(hot, stop_ids=ending.stop_ids)
    said = await asyncio.gather(*(reply(few, prompt, hot) for prompt in asked))
    assert not {token for ids in said for token in ids} & {*NEVER, SPOKEN[SEP]}
    with pytest.raises(PromptError, match="id 21 of the prompt stands for nothing"):
        await reply(few, [*asked[0], 21], ENDLESS)
    assert await reply(few, asked[0], ENDLESS) == due[0]  # nobody else was harmed
    await few.close()
    await reference.close()


def test_a_model_of_which_nothing_is_left_is_refused(gapped: GPT2LMHeadModel, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    from chatgpt2.engine.export import exported

    with pytest.raises(EngineError, match="every token"):
        exported(gapped, tmp_path, left_out=range(gapped.config.vocab_size))
