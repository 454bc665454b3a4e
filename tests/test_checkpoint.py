from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from chatgpt2.checkpoint import (
    Card,
    add_lora,
    create_model,
    freeze,
    load_checkpoint,
    repair_special_ids,
    save_checkpoint,
)
from chatgpt2.codec import Codec
from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.vocabulary import SPECIAL, save_vocabulary, vocabulary_hash

ENTRIES = [*SPECIAL, *"abcdefg你好吗我很天气，。？！"]
CODEC = Codec(ENTRIES, window=32)
CARD = Card(
    vocabulary_hash=vocabulary_hash(ENTRIES),
    window=32,
    metrics={"loss": 1.5},
    sampling={"top_k": 5},
    opening=("你好", "你好！"),
)
IDS = torch.tensor([CODEC.prompt(Dialogue.of(["你好吗"]), 16)])  # [1, tokens]


def little_model(seed: int = 0, **changes: Any) -> GPT2LMHeadModel:
    """A GPT-2 of a few thousand weights for CODEC."""
    settings = {"vocab_size": len(ENTRIES), "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(**settings | changes, bos_token_id=None, eos_token_id=None))
    with torch.no_grad():  # far from zero, so that equal logits mean equal weights
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.2)
    repair_special_ids(model, CODEC)
    return model.eval()


@torch.inference_mode()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(IDS).logits[0, -1]  # [vocabulary]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", little_model(), CODEC, CARD)
    return tmp_path / "model"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """As old models come: a vocabulary, a config with the English GPT-2's ids, and a pickle of weights."""
    folder, model = tmp_path / "foreign", little_model()
    folder.mkdir()
    config = {
        **model.config.to_diff_dict(),
        "model_type": "gpt2",
        "bos_token_id": 50256,
        "eos_token_id": 50256,
    }
    config.pop("pad_token_id", None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    save_vocabulary(ENTRIES, folder / "vocab.txt")
    return folder


def adapter_of(base: Path, folder: Path, seed: int = 7) -> torch.nn.Module:
    """Save an adapter of `base` in `folder` that changes what the model says; the adapted model."""
    model = add_lora(load_checkpoint(base).model, 2, base=base)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.3)
    save_checkpoint(folder, model, CODEC, CARD)
    adapted: torch.nn.Module = model.eval()
    return adapted


@pytest.mark.parametrize(("size", "shape"), [("tiny", (4, 256, 4)), ("small", (6, 384, 6))])
def test_a_new_model_has_the_shape_of_its_size(size: str, shape: tuple[int, int, int]) -> None:
    config = create_model(size, CODEC).config
    assert (config.n_layer, config.n_embd, config.n_head) == shape
    assert (config.vocab_size, config.n_positions) == (len(ENTRIES), 32)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (
        CODEC.cls_id,
        CODEC.sep_id,
        CODEC.pad_id,
    )


def test_the_seed_decides_the_weights_and_dropout_is_everywhere() -> None:
    one, again, other = (create_model("tiny", CODEC, seed=seed, dropout=0.1) for seed in (1, 1, 2))
    weights, same, different = (dict(model.named_parameters()) for model in (one, again, other))
    assert all(torch.equal(weight, same[name]) for name, weight in weights.items())
    matrices = [name for name, weight in weights.items() if weight.dim() == 2]
    assert not any(torch.equal(weights[name], different[name]) for name in matrices)
    assert {module.p for module in one.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}
    assert one.config.resid_pdrop == one.config.embd_pdrop == one.config.attn_pdrop == 0.1


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="tiny, small, base"):
        create_model("huge", CODEC)


def test_what_is_saved_is_loaded(saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert torch.allclose(logits(loaded.model), logits(little_model()), atol=1e-5)
    assert loaded.card == CARD
    assert loaded.codec.fingerprint == CODEC.fingerprint
    assert (loaded.path, loaded.name) == (saved, "model")
    assert loaded.banned_ids == CODEC.banned_ids
    assert not loaded.model.training


def test_other_tools_load_the_directory(saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert torch.allclose(logits(model.eval()), logits(little_model()), atol=1e-5)
    assert (model.config.bos_token_id, model.config.eos_token_id) == (CODEC.cls_id, CODEC.sep_id)
    assert model.generation_config.eos_token_id == CODEC.sep_id
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("[CLS]", "[SEP]", "[PAD]")
    assert tokenizer("你好吗").input_ids == IDS[0].tolist()


def test_a_foreign_directory_is_loaded_and_its_ids_repaired(foreign: Path) -> None:
    loaded = load_checkpoint(str(foreign))
    assert torch.allclose(logits(loaded.model), logits(little_model()), atol=1e-5)
    for config in (loaded.model.config, loaded.model.generation_config):
        assert config is not None
        assert (config.bos_token_id, config.eos_token_id) == (CODEC.cls_id, CODEC.sep_id)
        assert config.pad_token_id == CODEC.pad_id
    assert loaded.card == Card(vocabulary_hash=CARD.vocabulary_hash, window=32)


def test_ids_out_of_range_in_the_generation_config_are_repaired(foreign: Path) -> None:
    text = json.dumps({"bos_token_id": 50256, "eos_token_id": 50256, "transformers_version": "4.2.0"})
    (foreign / "generation_config.json").write_text(text, encoding="utf-8")
    assert load_checkpoint(foreign).model.generation_config.eos_token_id == CODEC.sep_id  # type: ignore[union-attr]


def test_rows_of_no_entry_are_banned(tmp_path: Path) -> None:
    spare = len(ENTRIES)
    save_checkpoint(tmp_path, little_model(vocab_size=spare + 2), CODEC, CARD)
    assert load_checkpoint(tmp_path).banned_ids == (*CODEC.banned_ids, spare, spare + 1)


def test_a_vocabulary_larger_than_the_model_is_refused(foreign: Path) -> None:
    save_vocabulary([*ENTRIES, "多"], foreign / "vocab.txt")
    with pytest.raises(
        CheckpointError, match=rf"{len(ENTRIES) + 1} entries but the model only {len(ENTRIES)}"
    ):
        load_checkpoint(foreign)


def test_another_vocabulary_of_the_same_size_is_refused(saved: Path) -> None:
    save_checkpoint(saved, little_model(), Codec([*SPECIAL, *reversed(ENTRIES[5:])], window=32), CARD)
    with pytest.raises(CheckpointError, match="not the one that the model was trained with"):
        load_checkpoint(saved)


def test_a_tokenizer_longer_than_the_model_is_refused(saved: Path) -> None:
    save_checkpoint(saved, little_model(), Codec(ENTRIES, window=64), CARD)
    path = saved / "tokenizer_config.json"
    assert json.loads(path.read_text(encoding="utf-8"))["model_max_length"] == 64
    assert load_checkpoint(saved).codec.window == 32


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_directory_that_lacks_something_is_refused(saved: Path, missing: str) -> None:
    (saved / missing).unlink()
    (saved / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"no config.json|no weights|no tokenizer"):
        load_checkpoint(saved)


def test_what_is_no_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "file.bin").write_bytes(b"")
    for name in (tmp_path / "nothing", "./nothing", "models/nothing", "nothing", "~/no/such"):
        with pytest.raises(CheckpointError, match="no model directory"):
            load_checkpoint(name)
    with pytest.raises(CheckpointError, match="is a file"):
        load_checkpoint("file.bin")


def test_a_hub_name_that_cannot_be_had_is_one_clear_line() -> None:
    with pytest.raises(CheckpointError, match="cannot be had from the hub") as error:
        load_checkpoint("nobody/no-such-model")
    assert "\n" not in str(error.value)
    assert "HF_ENDPOINT" in str(error.value)


def test_weights_of_another_shape_are_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    (saved / "config.json").write_text(json.dumps({**config, "n_embd": 64}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be loaded as a GPT-2") as error:
        load_checkpoint(saved)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_all_there_are_refused(foreign: Path) -> None:
    """transformers fills what is missing with random numbers and only warns."""
    weights = {name: value for name, value in little_model().state_dict().items() if ".h.1." not in name}
    torch.save(weights, foreign / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"lacks 12 weights \(transformer\.h\.1\."):
        load_checkpoint(foreign)


def test_damaged_weights_are_refused(saved: Path, foreign: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"\x00" * 100)
    (foreign / "pytorch_model.bin").write_bytes(b"nonsense")
    for folder in (saved, foreign):
        with pytest.raises(CheckpointError, match="cannot be loaded as a GPT-2"):
            load_checkpoint(folder)


def test_another_kind_of_model_is_refused(saved: Path) -> None:
    (saved / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="a bert model"):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "1"}', "\ud800"])
def test_a_damaged_card_is_refused(saved: Path, text: str) -> None:
    (saved / "chatgpt2.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match="restore it or delete it"):
        load_checkpoint(saved)


def test_a_card_from_the_future_is_refused_and_its_unknown_fields_are_not(saved: Path) -> None:
    path = saved / "chatgpt2.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**card, "mood": "good"}), encoding="utf-8")
    assert load_checkpoint(saved).card == CARD
    path.write_text(json.dumps({**card, "format": 2}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="upgrade chatgpt2"):
        load_checkpoint(saved)


def test_a_device_that_is_not_there_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match="--device quantum"):
        load_checkpoint(saved, device="quantum")


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot write the model"):
        save_checkpoint(tmp_path / "taken", little_model(), CODEC, CARD)


def test_an_adapter_is_small_and_loads_merged_into_its_base(saved: Path, tmp_path: Path) -> None:
    adapted = adapter_of(saved, tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    loaded = load_checkpoint(tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded.model), logits(adapted), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(loaded.model), logits(little_model()), atol=0.1)
    assert type(loaded.model) is GPT2LMHeadModel
    assert loaded.card == CARD


def test_only_the_low_rank_matrices_learn(saved: Path) -> None:
    model = add_lora(load_checkpoint(saved).model, 2, base=saved)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(learning) == 2 * 2 * 4  # A and B, in two blocks, on c_attn, c_fc and two c_proj
    assert all("lora_" in name for name in learning)


def test_an_adapter_of_an_adapter_loads(saved: Path, tmp_path: Path) -> None:
    adapter_of(saved, tmp_path / "one")
    adapted = adapter_of(tmp_path / "one", tmp_path / "two", seed=8)
    loaded = load_checkpoint(tmp_path / "two")
    torch.testing.assert_close(logits(loaded.model), logits(adapted), rtol=1e-4, atol=1e-4)


def test_an_adapter_whose_base_is_gone_is_one_clear_line(saved: Path, tmp_path: Path) -> None:
    adapter_of(saved, tmp_path / "adapter")
    shutil.rmtree(saved)
    with pytest.raises(
        CheckpointError, match="is a LoRA adapter whose base cannot be used: no model directory"
    ):
        load_checkpoint(tmp_path / "adapter")


def test_an_adapter_of_another_shape_is_one_clear_line(saved: Path, tmp_path: Path) -> None:
    adapter_of(saved, tmp_path / "adapter")
    shutil.rmtree(saved)
    save_checkpoint(saved, little_model(n_embd=64), CODEC, CARD)
    with pytest.raises(CheckpointError, match="does not fit its base"):
        load_checkpoint(tmp_path / "adapter")


def test_an_adapter_for_a_hub_model_keeps_its_name(tmp_path: Path) -> None:
    """Saving must not ask the hub about the base."""
    model = add_lora(little_model(), 2, base="somebody/some-model")
    save_checkpoint(tmp_path, model, CODEC, CARD)
    raw = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert raw["base_model_name_or_path"] == "somebody/some-model"


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="--lora 0"):
        add_lora(little_model(), 0, base="x")


def test_freezing_keeps_the_embeddings_and_the_lowest_blocks() -> None:
    model = little_model()
    freeze(model, 1)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(name.startswith(("transformer.h.1.", "transformer.ln_f.")) for name in learning)
    whole = little_model()
    freeze(whole, 0)
    assert all(weight.requires_grad for weight in whole.parameters())
    with pytest.raises(ConfigError, match="the model has 2 blocks"):
        freeze(model, 3)


def test_a_card_of_another_window_is_kept_as_written(tmp_path: Path) -> None:
    replace(CARD, learn="bot").write(tmp_path)
    assert Card.read(tmp_path) == replace(CARD, learn="bot")
    assert Card.read(tmp_path / "nowhere") is None
