from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import TALKS, dialogue_codec, network

from chatgpt2.assessment.likelihood import losses
from chatgpt2.checkpoint import load_checkpoint
from chatgpt2.codec import Codec
from chatgpt2.dialogue import Dialogue
from chatgpt2.tokens import TokenFile, tokenise


def write(path: Path, talks: tuple[tuple[str, ...], ...]) -> Path:
    path.write_text("\n\n".join("\n".join(talk) for talk in talks) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return tokenise([write(tmp_path / "talks.txt", TALKS)], dialogue_codec(), cache=tmp_path / "cache")


def theirs(model: torch.nn.Module, codec: Codec, talk: tuple[str, ...]) -> float:
    """The summed loss by transformers itself, one dialogue at a time."""
    ids = torch.tensor([codec.encode(Dialogue.of(talk))[0].ids])
    with torch.inference_mode():
        return float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)


def test_the_loss_of_each_dialogue_is_that_of_transformers(dialogue_model: Path, tokens: TokenFile) -> None:
    loaded = load_checkpoint(dialogue_model)
    found = losses(loaded.model, tokens, loaded.codec.pad_id)
    expected = sorted(theirs(loaded.model, loaded.codec, talk) for talk in TALKS)
    assert np.sort(found.nll) == pytest.approx(expected, abs=1e-3)
    assert sorted(found.characters.tolist()) == sorted(len("".join(talk)) for talk in TALKS)
    assert sorted(found.tokens.tolist()) == sorted(sum(len(turn) + 1 for turn in talk) for talk in TALKS)


def test_a_model_that_knows_nothing_guesses_among_all_entries(tokens: TokenFile) -> None:
    codec = dialogue_codec()
    model = network(len(codec.vocabulary))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = losses(model, tokens, codec.pad_id)
    assert found.nll.sum() / found.tokens.sum() == pytest.approx(math.log(len(codec.vocabulary)))


def test_equal_dialogues_are_one_and_progress_is_told(tmp_path: Path, dialogue_model: Path) -> None:
    codec = dialogue_codec()
    twice = tokenise([write(tmp_path / "talks.txt", (*TALKS, *TALKS))], codec, cache=tmp_path / "cache")
    told: list[tuple[int, int]] = []
    found = losses(load_checkpoint(dialogue_model).model, twice, codec.pad_id, lambda *now: told.append(now))
    assert len(found.keys) == len(TALKS)
    assert told[-1] == (twice.counts.tokens,) * 2
