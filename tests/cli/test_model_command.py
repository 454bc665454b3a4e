from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from chatgpt2.card import Card
from chatgpt2.checkpoint import add_lora, create_model, load_checkpoint, save_checkpoint
from chatgpt2.cli.model import model
from chatgpt2.codec import Codec
from chatgpt2.errors import ChatGPT2Error, CheckpointError, ConfigError
from chatgpt2.vocabulary import SPECIAL, vocabulary_hash

ENTRIES = [*SPECIAL, *"你好吗我很"]
CODEC = Codec(ENTRIES, window=16)
CARD = Card(
    vocabulary_hash=vocabulary_hash(ENTRIES),
    window=16,
    training={"steps": 1234, "base": None},
    metrics={"loss": 2.5},
    opening=("你好", "你好！"),
)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(model, [str(each) for each in arguments])
    if isinstance(result.exception, ChatGPT2Error):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "base", create_model("tiny", CODEC), CODEC, CARD)
    return tmp_path / "base"


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    adapted = add_lora(load_checkpoint(base).model, 4, base=base)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
    save_checkpoint(tmp_path / "adapter", adapted, CODEC, CARD)
    return tmp_path / "adapter"


@torch.inference_mode()
def logits(folder: Path) -> torch.Tensor:
    return load_checkpoint(folder).model(torch.tensor([[2, 5, 6, 7, 3]])).logits  # [1, tokens, vocabulary]


def test_a_merged_adapter_says_the_same_without_its_base(base: Path, adapter: Path, tmp_path: Path) -> None:
    before = logits(adapter)
    assert not torch.allclose(before, logits(base), atol=1e-2)
    result = run("merge", adapter, "-o", tmp_path / "merged")
    assert f"Next: chatgpt2 chat --model {tmp_path / 'merged'}" in result.stdout
    for folder in (base, adapter):
        folder.rename(folder.with_name(f"{folder.name}-gone"))
    assert torch.allclose(logits(tmp_path / "merged"), before, atol=1e-5)
    assert load_checkpoint(tmp_path / "merged").card == CARD
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chatgpt2.json"} <= names
    assert "adapter_config.json" not in names


def test_what_is_no_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no LoRA adapter"):
        run("merge", base, "-o", tmp_path / "merged")
    with pytest.raises(CheckpointError, match="no model directory"):
        run("merge", tmp_path / "nothing", "-o", tmp_path / "merged")


def test_a_folder_that_holds_something_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for out in (base, tmp_path / "file"):
        with pytest.raises(ConfigError, match="choose another"):
            run("merge", adapter, "--out", out)


def test_show_tells_what_a_model_is(base: Path, adapter: Path) -> None:
    text = run("show", base).stdout
    assert "4 layers × 256, 4 heads" in text
    assert "steps 1,234" in text
    assert "loss 2.5" in text
    assert "你好 / 你好！" in text
    assert "shared with the token embedding" in text
    facts = json.loads(run("show", adapter, "--json").stdout)
    assert facts["kind"] == "LoRA adapter"
    model = load_checkpoint(base).model
    assert facts["parameters"] == sum(each.numel() for each in model.parameters())
    assert facts["entries"] == len(ENTRIES)
    assert facts["metrics"] == {"loss": 2.5}
    assert sum(part["parameters"] for part in facts["parts"]) == facts["parameters"]
    parts = {part["name"]: part for part in facts["parts"]}
    assert parts["attention"]["shapes"]["c_attn.weight"] == [256, 768]
    assert parts["head"]["shared"] == "token embedding"
    matrices = (
        4 * 12 * 256 * 256
    )  # four blocks of twelve squares: Muon keeps one number for each of their weights
    kept = 4 * (2 * facts["parameters"] + matrices + 2 * (facts["parameters"] - matrices))
    assert facts["train"] == kept + 1024 * 4 * (34 * 256 + 5 * 4 * 64)
    assert facts["serve"]["pytorch fp32"] == 4 * (facts["parameters"] + 2 * 4 * 16 * 256)


def test_show_prints_the_tree_as_torch_does(base: Path) -> None:
    text = run("show", base, "--tree").stdout
    assert text.startswith("GPT2LMHeadModel(\n  (transformer): GPT2Model(")
    assert "(lm_head): Linear(in_features=256" in text


def test_show_knows_models_of_texts(text_model: Path) -> None:
    facts = json.loads(run("show", text_model, "--json").stdout)
    assert facts["tokenizer"] == "bpe, window 64, a text ends with <|endoftext|>"


def test_a_model_comes_apart_and_together(base: Path, tmp_path: Path) -> None:
    head, backbone = tmp_path / "head.safetensors", tmp_path / "backbone.safetensors"
    text = run("split", base, "--part", "lm-head", "-o", head).stdout
    assert "are one matrix in this model (tied); the file has a copy" in text
    run("split", base, "--part", "backbone", "-o", backbone)
    assert "are one matrix (tied)" in run("join", base, head, backbone, "-o", tmp_path / "whole").stdout
    assert torch.equal(logits(tmp_path / "whole"), logits(base))
    text = run("join", base, head, "--untie", "-o", tmp_path / "whole", "--force").stdout
    assert "are two matrices" in text
    assert torch.equal(logits(tmp_path / "whole"), logits(base))


def test_a_model_is_exported_resized_and_converted(base: Path, tmp_path: Path) -> None:
    assert "safetensors, fp32" in run("export", base, "--to", "safetensors", "-o", tmp_path / "plain").stdout
    text = run("resize-vocabulary", tmp_path / "plain", "--add", "[BOT]", "-o", tmp_path / "more").stdout
    assert f"{len(ENTRIES)} entries kept, 1 added, 0 removed" in text
    text = run("convert", tmp_path / "more", "-o", tmp_path / "again").stdout
    assert "bos, eos and pad are [CLS], [SEP] and [PAD]" in text
    assert torch.equal(logits(tmp_path / "again"), logits(tmp_path / "more"))
    with pytest.raises(ConfigError, match="overwrite with --force"):
        run("convert", tmp_path / "more", "-o", tmp_path / "again")
