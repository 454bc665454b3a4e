from __future__ import annotations

from pathlib import Path

import pytest
import torch
from logits import logits_of

from chatgpt2.checkpoint import load_any, load_checkpoint
from chatgpt2.errors import ConfigError
from chatgpt2.surgery import join, resize_vocabulary, split


def test_entries_keep_what_was_learned_of_them_wherever_they_stand(
    dialogue_model: Path, tmp_path: Path
) -> None:
    """Turned round, with some left out: the same dialogue has other ids and the same logits."""
    loaded = load_checkpoint(dialogue_model)
    entries = [*loaded.codec.vocabulary[:5], *reversed(loaded.codec.vocabulary[8:])]
    done = resize_vocabulary(dialogue_model, tmp_path / "turned", vocabulary=entries)
    assert (done.kept, done.added, done.removed) == (len(entries), 0, 3)
    place = [loaded.codec.vocabulary.index(entry) for entry in entries]
    text = "今天天气真"
    before = logits_of(dialogue_model, torch.tensor([loaded.codec.begin(text)]))
    fresh = load_checkpoint(tmp_path / "turned")
    after = logits_of(tmp_path / "turned", torch.tensor([fresh.codec.begin(text)]))
    assert fresh.codec.begin(text) != loaded.codec.begin(text)
    assert torch.allclose(after, before[:, :, place], atol=1e-5)
    assert fresh.model.config.eos_token_id == fresh.codec.sep_id


@pytest.mark.parametrize("untied", [False, True])
def test_a_new_entry_begins_as_the_mean_of_what_it_was_spelled_with(
    dialogue_model: Path, tmp_path: Path, untied: bool
) -> None:
    source = dialogue_model
    if untied:
        split(source, "lm-head", tmp_path / "head.safetensors")
        source = tmp_path / "untied"
        join(dialogue_model, [tmp_path / "head.safetensors"], source, tie=False)
    done = resize_vocabulary(source, tmp_path / "more", add=["天气", "[BOT]"])
    assert (done.added, done.removed) == (2, 0)
    old, new = load_checkpoint(source), load_checkpoint(tmp_path / "more")
    rows, entries = new.model.transformer.wte.weight, old.codec.vocabulary
    first, second = (old.model.transformer.wte.weight[entries.index(char)] for char in "天气")
    assert torch.allclose(rows[-2], (first + second) / 2)
    assert torch.equal(rows[:-2], old.model.transformer.wte.weight)
    assert torch.allclose(logits_of(tmp_path / "more")[..., :-2], logits_of(source), atol=1e-5)
    assert new.codec.vocabulary[-2:] == ["天气", "[BOT]"]


def test_a_token_is_added_to_any_tokenizer(text_model: Path, tmp_path: Path) -> None:
    resize_vocabulary(text_model, tmp_path / "more", add=["<BOS>"])
    new = load_any(tmp_path / "more")
    number = len(new.codec.vocabulary) - 1
    assert new.codec.begin("<BOS>The")[0] == number
    assert new.model.config.vocab_size == number + 1
    assert torch.allclose(logits_of(tmp_path / "more")[..., :-1], logits_of(text_model), atol=1e-5)


def test_what_cannot_be_is_told(dialogue_model: Path, text_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="give either --vocabulary FILE or --add TOKEN"):
        resize_vocabulary(dialogue_model, out)
    with pytest.raises(ConfigError, match="--add 天: the vocabulary has it already"):
        resize_vocabulary(dialogue_model, out, add=["天"])
    with pytest.raises(ConfigError, match="another tokenizer: take --add"):
        resize_vocabulary(text_model, out, vocabulary=load_checkpoint(dialogue_model).codec.vocabulary)
    assert not out.exists()
