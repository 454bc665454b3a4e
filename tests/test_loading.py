from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.completions import FakeCompletions

from chatgpt2.checkpoint import Card, create_model, save_checkpoint
from chatgpt2.codec import Codec
from chatgpt2.engine import export
from chatgpt2.engine.base import Engine, EngineOptions, SamplingParams
from chatgpt2.engine.pytorch import PyTorchEngine
from chatgpt2.errors import CheckpointError, ConfigError, EngineError
from chatgpt2.loading import choose_engine, open_model
from chatgpt2.vocabulary import SPECIAL, vocabulary_hash

INSTALLED = importlib.util.find_spec("openvino_genai") is not None


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    codec = Codec([*SPECIAL, *"天地人你我他"], 64)
    card = Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=64)
    save_checkpoint(tmp_path / "model", create_model("tiny", codec), codec, card)
    return tmp_path / "model"


@pytest.mark.skipif(not INSTALLED, reason="openvino-genai is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_openvino_is_chosen_on_a_cpu_and_keeps_its_files_beside_the_weights(
    saved: Path, tmp_path: Path
) -> None:
    assert choose_engine(EngineOptions()) == ("openvino", "cpu")
    calls: list[Any] = []

    async def talk() -> int:
        serving = open_model(
            saved, EngineOptions(threads=1), tmp_path / "cache", lambda *notice: calls.append(notice)
        )
        engine = serving.engine
        params = SamplingParams(max_new_tokens=5, min_new_tokens=5, stop_ids=serving.codec.stop_ids)
        ids = [step.ids async for step in engine.generate([2, 5, 6, 3], params)]
        rare = SamplingParams(max_new_tokens=5, min_new_tokens=5, no_repeat_ngram=1)
        ids += [step.ids async for step in engine.generate([2, 5, 6, 3], rare)]
        await engine.close()
        return sum(map(len, ids))

    assert asyncio.run(talk()) == 10
    assert list((saved / "openvino").glob("int8-*/openvino_model.xml"))
    assert asyncio.run(talk()) == 10
    assert calls == [("converting", "")]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "openvino", marks=pytest.mark.skipif(not INSTALLED, reason="openvino-genai is not installed")
        ),
        "pytorch",
    ],
)
def test_what_no_text_gives_is_never_said(tmp_path: Path, name: Any) -> None:
    codec = Codec([*SPECIAL, *"天地", *(f"##{char}" for char in "人你我他"), "##a"], 64)
    never = [i for i, entry in enumerate(codec.vocabulary) if entry[2:] in "人你我他" and entry[:2] == "##"]
    model = create_model("tiny", codec)
    with torch.no_grad():  # said every time, if it could be
        model.transformer.wte.weight[never] *= 50
    card = Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=64)
    save_checkpoint(tmp_path / "model", model, codec, card)

    async def talk() -> list[int]:
        serving = open_model(tmp_path / "model", EngineOptions(name=name, threads=1), tmp_path / "cache")
        params = SamplingParams(max_new_tokens=40, min_new_tokens=40, stop_ids=codec.stop_ids, temperature=5)
        prompt = [codec.cls_id, codec.unk_id, 6, codec.sep_id]
        ids = [i async for step in serving.engine.generate(prompt, params) for i in step.ids]
        await serving.engine.close()
        return ids

    for _ in range(2):  # converted, and found again
        assert set(asyncio.run(talk())) <= {5, 6, codec.vocabulary.index("##a")}
    for files in (tmp_path / "model" / "openvino").glob("int8-*/export.json"):
        assert json.loads(files.read_text())["kept"] == [[0, 7], [11, 12]]


@pytest.mark.skipif(not INSTALLED, reason="openvino-genai is not installed")
def test_what_was_converted_before_is_served_as_long_as_nothing_has_changed(
    saved: Path, tmp_path: Path
) -> None:
    def conversions() -> int:
        calls: list[Any] = []
        options = EngineOptions("openvino", threads=1, weights="fp32")
        serving = open_model(saved, options, tmp_path / "cache", lambda *notice: calls.append(notice))
        asyncio.run(serving.engine.close())
        assert (serving.kind, serving.source, serving.codec.window) == ("openvino", saved, 64)
        return len(calls)

    assert conversions() == 1
    # In a program of its own, since this one has imported torch.
    program = (
        "import asyncio, sys; from pathlib import Path; from chatgpt2.loading import open_model\n"
        "from chatgpt2.engine.base import EngineOptions\n"
        f"served = open_model({str(saved)!r}, EngineOptions(device='cpu', weights='fp32'), Path())\n"
        "asyncio.run(served.engine.close()); print({'torch', 'transformers'} & sys.modules.keys(), served.name)"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert said.stdout.startswith("set() model@"), said

    codec = Codec.load(saved)
    create_model("tiny", codec, seed=1).save_pretrained(saved)
    assert conversions() == 1
    assert conversions() == 0
    for file in (saved / "openvino").glob("fp32-*/openvino_model.bin"):  # of the earlier weights too
        file.write_bytes(b"cut off")
    assert conversions() == 1
    shutil.rmtree(saved / "openvino")
    assert conversions() == 1
    Codec([*SPECIAL, *"天地人你我他它"], 64).save(saved)
    with pytest.raises(CheckpointError, match="do not belong together"):
        conversions()


@pytest.mark.skipif(not INSTALLED, reason="openvino-genai is not installed")
def test_other_weights_than_those_served_never_answer(saved: Path, tmp_path: Path) -> None:
    """What openvino cannot do, PyTorch does with the weights in the directory: as long as they are the same."""
    rare = SamplingParams(max_new_tokens=5, min_new_tokens=5, no_repeat_ngram=1)

    async def talk(engine: Engine) -> int:
        return sum([len(step.ids) async for step in engine.generate([2, 5, 6, 3], rare)])

    async def served() -> None:
        options = EngineOptions("openvino", threads=1)
        asked, not_asked = (open_model(saved, options, tmp_path).engine for _ in range(2))
        assert await talk(asked) == 5
        create_model("tiny", Codec.load(saved), seed=1).save_pretrained(saved)
        assert await talk(asked) == 5  # its weights are in memory
        with pytest.raises(EngineError, match=r"model has others now: load the model again"):
            await talk(not_asked)
        again = open_model(saved, options, tmp_path).engine
        assert await talk(again) == 5
        for engine in (asked, not_asked, again):
            await engine.close()

    asyncio.run(served())


def test_pytorch_serves_where_openvino_is_not_installed(
    no_openvino: None, saved: Path, tmp_path: Path
) -> None:
    assert choose_engine(EngineOptions())[0] == "pytorch"
    engine = open_model(saved, EngineOptions(), tmp_path).engine
    assert isinstance(engine, PyTorchEngine)
    asyncio.run(engine.close())
    with pytest.raises(ConfigError, match="pip install openvino-genai"):
        choose_engine(EngineOptions("openvino"))


@pytest.mark.skipif(not INSTALLED, reason="openvino-genai is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_pytorch_serves_where_openvino_fails_and_was_not_asked_for(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "exported", lambda *_, **__: tmp_path)  # a folder without a model
    calls: list[Any] = []
    serving = open_model(saved, EngineOptions(), tmp_path, lambda *notice: calls.append(notice))
    assert isinstance(serving.engine, PyTorchEngine) and serving.kind == "pytorch"
    asyncio.run(serving.engine.close())
    ((notice, why),) = calls
    assert notice == "slow" and "OpenVINO cannot load" in why
    with pytest.raises(EngineError, match="take --engine pytorch"):
        open_model(saved, EngineOptions("openvino"), tmp_path)


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(ConfigError, match="--device cuda:9"):
        choose_engine(EngineOptions("pytorch", device="cuda:9"))
    with pytest.raises(ConfigError):
        choose_engine(EngineOptions("openvino", device="cuda"))
    for url in ("http://HOST:PORT", "gpu-server:8000", "http://"):
        with pytest.raises(ConfigError, match="it must look like"):
            open_model("nowhere", EngineOptions(url=url), Path())
    with pytest.raises(ConfigError, match="CHATGPT2_ENGINE_KEY"):
        open_model("nowhere", EngineOptions(url="http://gpu:8000", key="…"), Path())


@pytest.mark.skipif(not INSTALLED, reason="openvino-genai is not installed")
def test_a_folder_that_may_not_be_written_sends_the_files_to_the_cache(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export.exported

    def refuse(model: Any, folder: Path, **options: Any) -> Path:
        if folder.parent == saved:
            raise EngineError("no") from PermissionError(13, "denied")
        return real(model, folder, **options)

    monkeypatch.setattr(export, "exported", refuse)
    asyncio.run(open_model(saved, EngineOptions("openvino", threads=1), tmp_path / "cache").engine.close())
    assert list((tmp_path / "cache").glob("model-*/int8-*/openvino_model.xml"))


async def test_the_remote_engine_needs_no_weights_here(saved: Path, tmp_path: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="--engine-url"):
        open_model(saved, EngineOptions("remote"), tmp_path)
    async with FakeCompletions(20).running() as server:
        serving = open_model(saved, EngineOptions("remote", url=server.url), tmp_path)
        params = SamplingParams(stop_ids=serving.codec.stop_ids)
        assert [step async for step in serving.engine.generate([2, 5, 3], params)][-1].finish == "stop"
        await serving.engine.close()
        assert server.bodies[0]["logit_bias"]["0"] == -100


def test_the_card_says_how_to_talk(saved: Path, tmp_path: Path) -> None:
    card = json.loads((saved / "chatgpt2.json").read_text())
    card |= {"sampling": {"top_k": 7, "of_a_later_version": 1}, "opening": ["你好", "我是小栗"]}
    (saved / "chatgpt2.json").write_text(json.dumps(card))
    serving = open_model(saved, EngineOptions("pytorch"), tmp_path)
    assert serving.defaults.top_k == 7
    assert [turn.text for turn in serving.opening] == ["你好", "我是小栗"]
    assert serving.name is not None and serving.name.startswith("model@")
    assert (serving.kind, serving.source) == ("pytorch", saved)
    asyncio.run(serving.engine.close())
