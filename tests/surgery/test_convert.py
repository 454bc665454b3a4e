from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from logits import logits_of
from small_models import POEMS, TEXTS
from torch import Tensor
from transformers import pipeline

from chatgpt2.anycodec import require_dialogue
from chatgpt2.card import Card
from chatgpt2.checkpoint import load_any, load_checkpoint
from chatgpt2.cli import cli
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.surgery import convert
from chatgpt2.vocabulary import save_vocabulary
from chatgpt2.writing import generate

State = dict[str, Tensor]
SHORT: Any = {"max_new_tokens": 30, "max_length": None, "do_sample": False, "return_full_text": False}


@pytest.fixture
def state(dialogue_model: Path) -> State:
    return {name: each.clone() for name, each in load_checkpoint(dialogue_model).model.state_dict().items()}


def save(folder: Path, model: Path, state: Any, file: str = "pytorch_model.bin", **config: object) -> Path:
    folder.mkdir()
    loaded = load_checkpoint(model)
    torch.save(state, folder / file)
    save_vocabulary(loaded.codec.vocabulary, folder / "vocab.txt")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def same(made: Path, model: Path) -> bool:
    (reply,) = generate(
        made, "你好", dialogue=True, engine=EngineOptions("pytorch"), temperature=0.0, repetition_penalty=1.0
    )
    return reply.texts == ("你好呀",) and torch.equal(logits_of(made), logits_of(model))


def test_gpt2_chitchat_with_ids_outside_its_vocabulary(
    dialogue_model: Path, state: State, tmp_path: Path
) -> None:
    """As yangjianxin1/GPT2-chitchat saves: bos and eos 50256, masks in the file, no tokenizer settings."""
    for layer in range(2):
        state[f"transformer.h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 64, 64, dtype=torch.uint8))
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    source = save(
        tmp_path / "chitchat", dialogue_model, state, bos_token_id=50256, eos_token_id=50256, n_head=2, n_ctx=64,
        activation_function="gelu_new", model_type="gpt2",
    )  # fmt: skip
    done = convert(source, tmp_path / "made")
    assert done.objective == "dialogue"
    assert any("causal masks" in note for note in done.notes)
    assert any("answers in dialogues; if that is wrong: --objective text" in note for note in done.notes)
    assert same(tmp_path / "made", dialogue_model)
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (2, 3, 0)
    assert {path.name for path in (tmp_path / "made").iterdir()} >= {"model.safetensors", "chatgpt2.json"}


def test_cdial_gpt2_with_its_speakers(dialogue_model: Path, state: State, tmp_path: Path) -> None:
    """As thu-coai/CDial-GPT2_LCCC-base lies there: transformers of 2019, two speakers behind the vocabulary."""
    both = ["[speaker1]", "[speaker2]"]
    rows = torch.zeros(2, state["lm_head.weight"].shape[1])
    for name in ("transformer.wte.weight", "lm_head.weight"):
        state[name] = torch.cat([state[name], rows])
    for layer in range(2):
        state[f"transformer.h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 64, 64))
    source = save(
        tmp_path / "cdial", dialogue_model, state, n_head=2, n_ctx=64, n_positions=64, n_special=0, num_labels=1,
        output_past=True, torchscript=False, vocab_size=len(state["lm_head.weight"]),
    )  # fmt: skip
    entries = load_checkpoint(dialogue_model).codec.vocabulary
    save_vocabulary([*entries, *both], source / "vocab.txt")
    notes = convert(source, tmp_path / "made").notes
    assert any("causal masks" in note for note in notes)
    made = load_checkpoint(tmp_path / "made")
    assert made.codec.vocabulary[-2:] == both
    assert {len(entries), len(entries) + 1} <= set(made.banned_ids)  # a speaker is never said
    assert torch.equal(logits_of(tmp_path / "made")[..., : len(entries)], logits_of(dialogue_model))


@pytest.mark.parametrize("wrapping", ["plain", "module.", "state_dict", "no transformer."])
def test_old_files_in_their_wrappings(
    dialogue_model: Path, state: State, tmp_path: Path, wrapping: str
) -> None:
    wrapped: Any = state
    if wrapping == "module.":
        wrapped = {f"module.{name}": each for name, each in state.items()}
    elif wrapping == "state_dict":
        wrapped = {"state_dict": state, "epoch": 3}
    elif wrapping == "no transformer.":
        wrapped = {
            name.removeprefix("transformer."): each
            for name, each in state.items()
            if name != "lm_head.weight"
        }
    source = save(tmp_path / "old", dialogue_model, wrapped, n_head=2)
    convert(source, tmp_path / "made")
    assert same(tmp_path / "made", dialogue_model)


def goes_on(model: Path, prompt: str) -> str:
    (found,) = generate(
        model, prompt, engine=EngineOptions("pytorch"), temperature=0.0, repetition_penalty=1.0
    )
    return prompt + found.texts[0]


@pytest.fixture
def english(text_model: Path, tmp_path: Path) -> Path:
    """As gpt2 lay on the hub in 2019: pytorch_model.bin, vocab.json, merges.txt, a config that names no type."""
    folder = tmp_path / "gpt2"
    folder.mkdir()
    model = json.loads((text_model / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    loaded = load_any(text_model).model
    old = {
        name.removeprefix("transformer."): each.clone()
        for name, each in loaded.state_dict().items()
        if name != "lm_head.weight"
    }
    for layer in range(2):
        old[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 64, 64))
    torch.save(old, folder / "pytorch_model.bin")
    told = {
        "n_ctx": 64,
        "n_embd": 64,
        "n_head": 2,
        "n_layer": 2,
        "n_positions": 64,
        "layer_norm_epsilon": 1e-5,
    }
    (folder / "config.json").write_text(json.dumps({**told, "vocab_size": len(model["vocab"])}))
    return folder


def test_an_english_gpt2_as_it_lay_on_the_hub_becomes_a_model_of_texts(
    english: Path, text_model: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    done = CliRunner().invoke(cli, ["model", "convert", str(english), "-o", str(made)])
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, f"Next: chatgpt2 generate {made}")
    card = Card.read(made)
    assert card is not None and (card.objective, card.tokenizer, card.window) == ("text", "bpe", 64)
    assert torch.equal(logits_of(made), logits_of(text_model))
    prompt = "Once upon a"
    assert goes_on(made, prompt) == goes_on(text_model, prompt) == TEXTS[2]
    (theirs,) = pipeline("text-generation", model=str(made))(prompt, **SHORT)
    assert prompt + theirs["generated_text"] == TEXTS[2]
    text = tmp_path / "lines.txt"
    text.write_text("A monkey went up the mountain.\n" * 20, encoding="utf-8")
    length = ("--steps", "2", "--device", "cpu", "--threads", "1", "--samples", "0", "--as", "lines")
    trained = CliRunner().invoke(
        cli, ["train-text", str(text), "--base", str(made), "--out", str(tmp_path / "tuned"), *length]
    )
    assert (trained.exit_code, "unknown" in trained.output) == (0, False), trained.output
    with pytest.raises(ConfigError, match="--objective dialogue: dialogues need BERT's vocabulary"):
        convert(english, tmp_path / "other", objective="dialogue")
    with pytest.raises(ConfigError, match="--objective poetry: choose one of dialogue, text"):
        convert(english, tmp_path / "other", objective="poetry")  # type: ignore[arg-type]


def test_what_a_card_says_and_what_is_asked_for_decide(
    dialogue_model: Path, char_model: Path, tmp_path: Path
) -> None:
    assert convert(char_model, tmp_path / "char").objective == "text"
    assert goes_on(tmp_path / "char", "举头") == POEMS[1]
    assert convert(dialogue_model, tmp_path / "talks").objective == "dialogue"
    done = convert(dialogue_model, tmp_path / "texts", objective="text")
    assert (done.objective, Card.read(tmp_path / "texts").objective) == ("text", "text")  # type: ignore[union-attr]
    assert convert(tmp_path / "texts", tmp_path / "again").objective == "text"


def as_uer(state: State, old: bool) -> State:
    """The names of UER-py, older (word_embedding) or newer (word.embedding)."""
    word, pos, target = (
        ("word_embedding", "position_embedding", "target")
        if old
        else ("word.embedding", "pos.embedding", "target.lm")
    )
    found = {
        f"embedding.{word}.weight": state["transformer.wte.weight"],
        f"embedding.{pos}.weight": state["transformer.wpe.weight"],
        "encoder.layer_norm.gamma": state["transformer.ln_f.weight"],
        "encoder.layer_norm.beta": state["transformer.ln_f.bias"],
        f"{target}.output_layer.weight": state["lm_head.weight"],
    }
    for layer in range(2):
        ours, theirs = f"transformer.h.{layer}.", f"encoder.transformer.{layer}."
        for number, part in enumerate(state[f"{ours}attn.c_attn.weight"].chunk(3, dim=1)):
            found[f"{theirs}self_attn.linear_layers.{number}.weight"] = part.T.contiguous()
        for number, part in enumerate(state[f"{ours}attn.c_attn.bias"].chunk(3)):
            found[f"{theirs}self_attn.linear_layers.{number}.bias"] = part.contiguous()
        for to, name in (
            ("self_attn.final_linear", "attn.c_proj"),
            ("feed_forward.linear_1", "mlp.c_fc"),
            ("feed_forward.linear_2", "mlp.c_proj"),
        ):
            found[f"{theirs}{to}.weight"] = state[f"{ours}{name}.weight"].T.contiguous()
            found[f"{theirs}{to}.bias"] = state[f"{ours}{name}.bias"]
        for number in (1, 2):
            found[f"{theirs}layer_norm_{number}.gamma"] = state[f"{ours}ln_{number}.weight"]
            found[f"{theirs}layer_norm_{number}.beta"] = state[f"{ours}ln_{number}.bias"]
    return found


@pytest.mark.parametrize("old", [True, False])
def test_uer_names(dialogue_model: Path, state: State, tmp_path: Path, old: bool) -> None:
    folder = save(
        tmp_path / "uer", dialogue_model, as_uer(state, old), "cluecorpussmall_gpt2.bin", heads_num=2
    )
    source, words = folder / "cluecorpussmall_gpt2.bin", folder / "vocab.txt"
    done = convert(source, tmp_path / "made", vocabulary=words, objective="dialogue")
    assert "UER names were translated" in done.notes
    assert same(tmp_path / "made", dialogue_model)
    done = convert(source, tmp_path / "texts", vocabulary=words)
    assert done.objective == "text"
    assert any("goes on with texts; if that is wrong: --objective dialogue" in note for note in done.notes)
    assert torch.equal(logits_of(tmp_path / "texts"), logits_of(dialogue_model))
    assert goes_on(tmp_path / "texts", "今天天") == "今天天气真好"
    (plain,) = pipeline("text-generation", model=str(tmp_path / "texts"))("今天天", **SHORT)
    assert plain["generated_text"].replace(" ", "") == "气真好"
    with pytest.raises(CheckpointError, match="was trained on plain text"):
        require_dialogue(tmp_path / "texts")


def test_without_a_config_the_heads_are_guessed_and_it_is_said(
    dialogue_model: Path, state: State, tmp_path: Path
) -> None:
    source = save(tmp_path / "bare", dialogue_model, state)
    notes = convert(source, tmp_path / "made").notes
    assert any("1, each 64 wide, is assumed" in note for note in notes)


def test_a_head_of_its_own_stays_so(dialogue_model: Path, state: State, tmp_path: Path) -> None:
    state["lm_head.weight"] = state["lm_head.weight"] * 2
    source = save(tmp_path / "apart", dialogue_model, state, n_head=2)
    assert any("keeps its own" in note for note in convert(source, tmp_path / "made").notes)
    assert torch.allclose(logits_of(tmp_path / "made"), 2 * logits_of(dialogue_model), atol=1e-4)


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("this must never be run",)


def test_what_cannot_be_converted_is_one_clear_line(
    dialogue_model: Path, state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    with pytest.raises(ConfigError, match="is not there"):
        convert(tmp_path / "nothing", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="has no weights"):
        convert(tmp_path / "empty", out)
    first = save(tmp_path / "gpt1", dialogue_model, {"transformer.tokens_embed.weight": torch.zeros(3, 4)})
    with pytest.raises(CheckpointError, match="OpenAI GPT"):
        convert(first, out)
    bert = save(tmp_path / "bert", dialogue_model, {"bert.pooler.dense.weight": torch.zeros(3, 4)})
    with pytest.raises(CheckpointError, match="no weights of a GPT-2"):
        convert(bert, out)
    missing = {name: each for name, each in state.items() if name != "transformer.ln_f.bias"}
    with pytest.raises(CheckpointError, match=r"1 weights are missing \(transformer\.ln_f\.bias"):
        convert(save(tmp_path / "missing", dialogue_model, missing, n_head=2), out)
    with pytest.raises(CheckpointError, match="3 heads do not divide a width of 64"):
        convert(save(tmp_path / "heads", dialogue_model, state, n_head=3), out)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="cannot be loaded with weights_only"):
        convert(tmp_path / "evil", out)
    assert "never" not in capsys.readouterr().out
    assert not out.exists()


def test_a_vocabulary_of_another_size_is_noticed(dialogue_model: Path, state: State, tmp_path: Path) -> None:
    entries = load_checkpoint(dialogue_model).codec.vocabulary
    source = save(tmp_path / "old", dialogue_model, state, n_head=2)
    save_vocabulary([*entries, "多"], source / "vocab.txt")
    with pytest.raises(CheckpointError, match="give its own with --vocabulary"):
        convert(source, tmp_path / "made")
    save_vocabulary(entries[:-2], source / "vocab.txt")
    assert any(
        "2 rows of the embedding belong to no entry" in note
        for note in convert(source, tmp_path / "made").notes
    )
