"""A checkpoint in the formats of other programs: OpenVINO, ONNX, safetensors."""

from __future__ import annotations

import importlib.util
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from chatgpt2.checkpoint import AnyCheckpoint, load_any, save_checkpoint
from chatgpt2.engine.export import ExplicitCache, exported
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.surgery.place import fresh_folder

# The first precision of each is its default.
TARGETS = {
    "openvino": ("int8", "fp32", "int4"),
    "onnx": ("fp32",),
    "safetensors": ("fp32", "fp16", "bf16"),
}
_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def export(
    source: str | Path, out: str | Path, to: str, *, weights: str | None = None, force: bool = False
) -> str:
    """Write the model at `source` to the folder `out` in the format `to`, with its tokenizer; the precision.

    openvino     openvino_model.xml, with its cache inside (OpenVINO GenAI, optimum-intel)
    onnx         model.onnx, the cache as inputs and outputs under the names that optimum uses
    safetensors  a plain Hugging Face directory, whatever it was: LoRA adapter, pytorch_model.bin, shards

    Nothing is banned in the graph: the logits are those of the model. Raises CheckpointError, ConfigError or
    EngineError.
    """
    if to not in TARGETS:
        raise ConfigError(f"--to {to}: choose one of {', '.join(TARGETS)}")
    precision = weights or TARGETS[to][0]
    if precision not in TARGETS[to]:
        raise ConfigError(f"--weights {precision}: --to {to} has {', '.join(TARGETS[to])}")
    found = load_any(source)
    with fresh_folder(Path(out), force=force, source=found.path) as draft:
        if to == "safetensors":
            found.model.to(_TYPES[precision])  # type: ignore[arg-type]
            save_checkpoint(draft, found.model, found.codec, found.card)
        else:
            _write_graph(found, draft, to, precision)
            found.codec.save(draft)
            found.card.write(draft)
            found.model.config.save_pretrained(draft)
    return precision


def _write_graph(found: AnyCheckpoint, draft: Path, to: str, weights: Any) -> None:
    if to == "onnx":
        to_onnx(found.model, draft / "model.onnx")
        return
    made = exported(found.model, draft / "made", weights=weights)
    for file in made.iterdir():
        file.rename(draft / file.name)
    shutil.rmtree(draft / "made")


class _WithPast(nn.Module):
    """GPT-2 with an explicit cache, without the choice among beams."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.inner = ExplicitCache(model)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        rows = torch.arange(input_ids.shape[0])
        found: tuple[Tensor, ...] = self.inner(input_ids, attention_mask, position_ids, rows, *past)
        return found


def to_onnx(model: GPT2LMHeadModel, file: Path) -> None:
    """Write the graph; shapes as of ExplicitCache, any number of rows, new and past positions."""
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError("--to onnx needs the package onnx: `pip install chatgpt2[onnx]`")
    config = model.config
    layers, heads, width = config.n_layer, config.n_head, config.n_embd // config.n_head
    names = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    past, present = [f"past_key_values.{name}" for name in names], [f"present.{name}" for name in names]
    ids = torch.zeros(2, 3, dtype=torch.long)
    example = (
        ids,
        torch.ones(2, 7, dtype=torch.long),
        ids,
        *(torch.zeros(2, heads, 4, width) for _ in names),
    )
    new, known = {0: "batch", 1: "sequence"}, {0: "batch", 1: "total"}
    axes = {"input_ids": new, "attention_mask": known, "position_ids": new, "logits": new}
    axes |= {name: {0: "batch", 2: "past"} for name in past}
    axes |= {name: {0: "batch", 2: "total"} for name in present}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # The exporter by tracing: the newer one cannot follow the mask's size (torch 2.13).
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _WithPast(model).eval(),
                example,
                str(file),
                dynamo=False,
                input_names=["input_ids", "attention_mask", "position_ids", *past],
                output_names=["logits", *present],
                dynamic_axes=axes,
            )
    except RuntimeError as error:
        raise CheckpointError(f"the model cannot be written as ONNX: {str(error).splitlines()[0]}") from error
