from __future__ import annotations

from pathlib import Path

import pytest
import torch
from logits import logits_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_models import save_text_model

from chatgpt2.checkpoint import load_any
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.surgery import join, split


@pytest.fixture
def head(dialogue_model: Path, tmp_path: Path) -> Path:
    split(dialogue_model, "lm-head", tmp_path / "head.safetensors")
    return tmp_path / "head.safetensors"


def test_a_head_is_one_matrix_and_its_file_tells_where_it_is_from(dialogue_model: Path, head: Path) -> None:
    model = load_any(dialogue_model).model
    assert torch.equal(load_file(head)["lm_head.weight"], model.lm_head.weight)
    with safe_open(head, "pt") as opened:
        about = opened.metadata()
    assert (about["part"], about["tied"]) == ("lm-head", "true")


def test_a_backbone_is_all_else_and_torch_loads_it(dialogue_model: Path, tmp_path: Path) -> None:
    model = load_any(dialogue_model).model
    cut = split(dialogue_model, "backbone", tmp_path / "backbone.safetensors")
    assert cut.tied
    assert cut.parameters == model.num_parameters()
    names = {
        name.removeprefix("transformer."): each
        for name, each in load_file(tmp_path / "backbone.safetensors").items()
    }
    report = model.transformer.load_state_dict(names)
    assert not report.missing_keys and not report.unexpected_keys


@pytest.mark.parametrize(("tie", "tied"), [(None, True), (True, True), (False, False)])
def test_what_was_cut_and_joined_says_the_same(
    dialogue_model: Path, head: Path, tmp_path: Path, tie: bool | None, tied: bool
) -> None:
    split(dialogue_model, "backbone", tmp_path / "backbone.safetensors")
    parts = [head, tmp_path / "backbone.safetensors"]
    assert join(dialogue_model, parts, tmp_path / "whole", tie=tie) is tied
    model = load_any(tmp_path / "whole").model
    assert (model.lm_head.weight is model.transformer.wte.weight) is tied
    assert model.config.tie_word_embeddings is tied
    assert torch.equal(logits_of(tmp_path / "whole"), logits_of(dialogue_model))


def test_another_head_is_kept_apart_and_not_tied_away(
    dialogue_model: Path, head: Path, tmp_path: Path
) -> None:
    doubled = {name: 2 * each for name, each in load_file(head).items()}
    save_file(doubled, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"--tie: head and token embedding differ by up to"):
        join(dialogue_model, [tmp_path / "other.safetensors"], tmp_path / "whole", tie=True)
    assert not (tmp_path / "whole").exists()
    assert join(dialogue_model, [tmp_path / "other.safetensors"], tmp_path / "whole") is False
    assert torch.allclose(logits_of(tmp_path / "whole"), 2 * logits_of(dialogue_model), atol=1e-4)


def test_a_model_that_was_untied_is_tied_again_on_request(
    dialogue_model: Path, head: Path, tmp_path: Path
) -> None:
    join(dialogue_model, [head], tmp_path / "apart", tie=False)
    assert join(tmp_path / "apart", [head], tmp_path / "still") is False
    assert join(tmp_path / "apart", [head], tmp_path / "tied", tie=True) is True
    assert torch.equal(logits_of(tmp_path / "tied"), logits_of(dialogue_model))


def test_models_of_texts_come_apart_too(text_model: Path, tmp_path: Path) -> None:
    split(text_model, "lm-head", tmp_path / "head.safetensors")
    join(text_model, [tmp_path / "head.safetensors"], tmp_path / "whole")
    assert torch.equal(logits_of(tmp_path / "whole"), logits_of(text_model))


def test_parts_that_do_not_fit_are_refused(dialogue_model: Path, head: Path, tmp_path: Path) -> None:
    other = save_text_model(tmp_path / "other", steps=1)
    with pytest.raises(CheckpointError, match="with another vocabulary"):
        join(other, [head], tmp_path / "whole")
    save_file({"lm_head.weight": torch.zeros(3, 64)}, tmp_path / "small.safetensors")
    with pytest.raises(CheckpointError, match=r"lm_head.weight is \[3, 64\], in the model"):
        join(dialogue_model, [tmp_path / "small.safetensors"], tmp_path / "whole")
    save_file({"score.weight": torch.zeros(3, 64)}, tmp_path / "score.safetensors")
    with pytest.raises(CheckpointError, match=r"score\.weight, which this GPT-2 does not have"):
        join(dialogue_model, [tmp_path / "score.safetensors"], tmp_path / "whole")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        join(dialogue_model, [tmp_path / "noise.safetensors"], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_files_are_not_overwritten_unasked(dialogue_model: Path, head: Path, tmp_path: Path) -> None:
    before = head.stat().st_mtime_ns
    with pytest.raises(ConfigError, match="overwrite with --force"):
        split(dialogue_model, "backbone", head)
    assert head.stat().st_mtime_ns == before
    split(dialogue_model, "backbone", head, force=True)
    assert "lm_head.weight" not in load_file(head)
    with pytest.raises(ConfigError, match=r"end its name in \.safetensors"):
        split(dialogue_model, "backbone", tmp_path / "backbone.bin")
    assert not list(tmp_path.glob(".*"))
