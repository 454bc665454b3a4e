"""Bases from directories in every layout, from a mirror of the Hugging Face hub, from ModelScope."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from fakes.hub import hub_of
from safetensors.torch import load_file, save_file

from chatgpt2.checkpoint import SIZES, Card, create_model, load_text, save_checkpoint
from chatgpt2.cli import cli
from chatgpt2.errors import ChatGPT2Error, CheckpointError, ConfigError
from chatgpt2.hub import locate
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokenizer import char_tokenizer, train_bpe

FETCH = "from chatgpt2.hub import locate; print(locate('someone/chars'))"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    codec = TextCodec(char_tokenizer("天地玄黄"), 16).shaped()
    save_checkpoint(folder, create_model("tiny", codec), codec, Card(objective="text", tokenizer="char"))
    (folder / "chatgpt2.json").unlink()
    return folder


def shard(model: Path) -> None:
    load_text(model).model.save_pretrained(model, max_shard_size="4MB")
    (model / "model.safetensors").unlink(missing_ok=True)
    assert len(list(model.glob("model-*.safetensors"))) > 1


def as_pickle(model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "layout", [None, shard, as_pickle], ids=["safetensors", "sharded", "pytorch_model.bin"]
)
def test_every_layout_gives_the_same_weights(model: Path, layout: object) -> None:
    before = load_text(model).model.state_dict()
    if callable(layout):
        layout(model)
    after = load_text(model).model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_older_tokenizer_files_are_read_too(model: Path) -> None:
    tokenizer = train_bpe(["the quick brown fox"] * 9, 300)
    tokenizer.backend_tokenizer.model.save(str(model))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (model / name).unlink(missing_ok=True)
    codec = TextCodec.load(model)
    assert (codec.kind, codec.decode(codec.encode_texts(["the fox"])[0].tolist())) == ("bpe", "the fox")


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made-by-a-pickle",)


def test_a_pickle_that_runs_code_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head.weight": _Attack()}, protocol=2))
    with pytest.raises(CheckpointError, match="cannot be loaded as a GPT-2"):
        load_text(model)
    assert not Path("made-by-a-pickle").exists()


def test_a_shard_that_is_missing_is_refused(model: Path) -> None:
    shard(model)
    next(model.glob("model-*2-of*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match=r"cannot be loaded|lacks"):
        load_text(model)


def test_an_embedding_with_too_few_rows_is_refused(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    config = (model / "config.json").read_text()
    rows = weights["transformer.wte.weight"].shape[0]
    weights["transformer.wte.weight"] = weights["transformer.wte.weight"][:-3].contiguous()
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    (model / "config.json").write_text(config.replace(f'"vocab_size": {rows}', f'"vocab_size": {rows - 3}'))
    with pytest.raises(CheckpointError, match=f"{rows} entries but the model only {rows - 3}"):
        load_text(model)


def elsewhere(home: Path, address: str) -> str:
    """What another process says, one that may use the network, when it fetches a model of the hub at `address`."""
    online = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "HF_ENDPOINT": address}
    done = subprocess.run(
        [sys.executable, "-c", FETCH],
        env={**os.environ, **online},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_a_mirror_of_the_hub_is_asked(model: Path, tmp_path: Path) -> None:
    with hub_of(model, "someone/chars") as (address, asked):
        said = elsewhere(tmp_path / "hf", address)
    assert load_text(said).codec.kind == "char"
    assert any("model.safetensors" in path for path in asked)


@pytest.fixture
def modelscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes an address ModelScope's, with an empty cache at first."""
    if importlib.util.find_spec("modelscope") is None:
        pytest.skip("modelscope is not installed")
    from modelscope_hub import set_default_config  # or it keeps the first address

    def lies_at(address: str) -> None:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", address)
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
        set_default_config(None)

    yield lies_at
    set_default_config(None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("天地玄黄\n" * 40, encoding="utf-8")
    return path


def train(command: str, *arguments: object) -> Path:
    """Trains by the command for one step, with models and tokenizers from ModelScope."""
    shared = ("--hub", "modelscope", "--steps", 1, "--samples", 0, "--device", "cpu", "--threads", 1)
    done = CliRunner().invoke(cli, [command, *map(str, (*arguments, *shared))])
    if isinstance(done.exception, ChatGPT2Error):
        raise done.exception
    assert done.exit_code == 0, done.exception
    return Path(str(arguments[arguments.index("--out") + 1]))


def test_an_adapter_finds_its_base_on_modelscope_and_then_in_its_cache(
    model: Path, text: Path, modelscope: Callable[[str], None], tmp_path: Path
) -> None:
    options = ("--base", "someone/chars", "--lora", 2, "--block", 8, "--out", tmp_path / "out")
    with hub_of(model, "someone/chars") as (address, asked):
        modelscope(address)
        adapter = train("train-text", text, *options)
        assert any("model.safetensors" in path for path in asked)
        shutil.rmtree(tmp_path / "cache")
        asked.clear()
        found = load_text(adapter)
        assert any("model.safetensors" in path for path in asked)
    modelscope("http://127.0.0.1:9")
    again = load_text(adapter)
    assert torch.equal(
        again.model.transformer.h[0].mlp.c_fc.weight, found.model.transformer.h[0].mlp.c_fc.weight
    )


def test_of_a_tokenizers_model_no_weights_are_fetched(
    model: Path,
    text: Path,
    modelscope: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SIZES, "tiny", (1, 64))
    options = ("--tokenizer", "someone/chars", "--size", "tiny", "--block", 8, "--out", tmp_path / "out")
    with hub_of(model, "someone/chars") as (address, asked):
        modelscope(address)
        trained = load_text(train("train-text", text, *options))
    assert trained.codec.vocabulary == load_text(model).codec.vocabulary
    assert any("tokenizer.json" in path for path in asked)
    assert not any("model.safetensors" in path for path in asked)


@pytest.mark.parametrize("command", ["train-dialog", "train-text", "train-classifier"])
def test_without_a_network_modelscope_is_named_by_every_command(
    command: str, modelscope: Callable[[str], None], tmp_path: Path
) -> None:
    data = tmp_path / "data.tsv"
    data.write_text(
        "ask\tanswer\tlabel\ttext\n" + "".join(f"问{n}\t答{n}\t{n % 2}\t{n}\n" for n in range(18)), "utf-8"
    )
    modelscope("http://127.0.0.1:9")
    with pytest.raises(
        CheckpointError, match=r"cannot be had from ModelScope .*config\.json, model\."
    ) as error:
        train(command, data, "--base", "someone/chars", "--out", tmp_path / "out")
    assert len(str(error.value).splitlines()) == 1
    assert "leave --hub modelscope out" in str(error.value)


def test_without_a_network_the_layout_that_would_do_is_named(tmp_path: Path) -> None:
    said = elsewhere(tmp_path / "hf", "http://127.0.0.1:9")
    assert "someone/chars is not a directory here and cannot be had from the hub" in said
    assert "config.json, model.safetensors" in said
    with pytest.raises(CheckpointError, match="no model directory"):
        locate("./nowhere")


def test_without_modelscope_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(ConfigError, match=r"pip install chatgpt2\[modelscope\]"):
        locate("someone/chars", "modelscope")
