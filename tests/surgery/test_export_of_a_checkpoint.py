from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from logits import IDS, logits_of
from transformers import AutoTokenizer

from chatgpt2.anycodec import load_codec
from chatgpt2.card import Card
from chatgpt2.checkpoint import load_any
from chatgpt2.errors import ConfigError, EngineError
from chatgpt2.surgery import export


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
@pytest.mark.parametrize("kind", ["dialogue_model", "text_model", "char_model"])
def test_onnx_says_the_same_with_and_without_a_past(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    import onnxruntime

    model: Path = request.getfixturevalue(kind)
    export(model, tmp_path / "onnx", "onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    outputs = [each.name for each in session.get_outputs()]
    ids, rows = IDS.numpy(), len(IDS)
    past = {each.name: np.zeros((rows, 2, 0, 32), np.float32) for each in session.get_inputs()[3:]}
    found = []
    for start, end in ((0, 4), (4, 6)):
        places = np.tile(np.arange(start, end), (rows, 1))
        inputs = {
            "input_ids": ids[:, start:end],
            "attention_mask": np.ones((rows, end), np.int64),
            "position_ids": places,
        }
        result = dict(zip(outputs, session.run(None, {**inputs, **past}), strict=True))
        found.append(result.pop("logits"))
        past = {name.replace("present", "past_key_values"): each for name, each in result.items()}
    assert np.allclose(np.concatenate(found, 1), logits_of(model).numpy(), atol=1e-4)
    text = "那猴王 望明月 king"
    assert AutoTokenizer.from_pretrained(tmp_path / "onnx")(text) == AutoTokenizer.from_pretrained(model)(
        text
    )
    assert (
        load_codec(tmp_path / "onnx", Card.read(tmp_path / "onnx")).vocabulary
        == load_any(model).codec.vocabulary
    )


def test_without_openvino_it_says_what_to_install(
    dialogue_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="`pip install openvino-genai nncf`"):
        export(dialogue_model, tmp_path / "ov", "openvino")
    assert not (tmp_path / "ov").exists()


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_openvino_says_the_same(dialogue_model: Path, tmp_path: Path) -> None:
    import openvino

    assert export(dialogue_model, tmp_path / "ov", "openvino", weights="fp32") == "fp32"
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    request = (
        openvino.Core()
        .compile_model(tmp_path / "ov" / "openvino_model.xml", "CPU", settings)
        .create_infer_request()
    )
    ids = IDS.numpy()
    places = np.tile(np.arange(ids.shape[1]), (len(ids), 1))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": places}
    found = request.infer({**inputs, "beam_idx": np.arange(len(ids), dtype=np.int32)})["logits"]
    assert np.allclose(found, logits_of(dialogue_model).numpy(), atol=1e-4)
    assert (tmp_path / "ov" / "tokenizer.json").exists()


@pytest.mark.parametrize(("weights", "apart"), [(None, 0.0), ("bf16", 0.2), ("fp16", 0.02)])
def test_safetensors_say_the_same_as_far_as_their_precision_goes(
    text_model: Path, tmp_path: Path, weights: str | None, apart: float
) -> None:
    export(text_model, tmp_path / "plain", "safetensors", weights=weights)
    assert torch.allclose(logits_of(tmp_path / "plain"), logits_of(text_model), atol=apart, rtol=0)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "plain", text_model)]
    assert sizes[0] < 0.6 * sizes[1] if weights else sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_what_a_format_does_not_have_is_told(dialogue_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--weights int8: --to onnx has fp32"):
        export(dialogue_model, tmp_path / "out", "onnx", weights="int8")
    with pytest.raises(ConfigError, match="--to gguf: choose one of"):
        export(dialogue_model, tmp_path / "out", "gguf")
    assert not list(tmp_path.iterdir())
