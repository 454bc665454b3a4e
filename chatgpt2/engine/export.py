"""A GPT-2 checkpoint as an OpenVINO model, made once and kept beside the checkpoint.

The graph is GPT-2 written out in plain torch with an explicit cache of keys and values, because that is what
OpenVINO turns into paged attention. Banned ids get a bias in the graph, so that nothing can sample them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2LMHeadModel

from chatgpt2.engine.base import Weights
from chatgpt2.engine.checking import check_banned
from chatgpt2.engine.gpt2 import activation
from chatgpt2.engine.kept import DONE, FORMAT, drafted, put_in_place, tidy, whole
from chatgpt2.engine.rows import Ranges, kept_ranges
from chatgpt2.errors import EngineError

_BANNED_BIAS = -1e30  # below any logit, also after any temperature and repetition penalty, and still finite
_CONVERTING = threading.Lock()  # tracing, warnings and nncf's console are the whole program's


class ExplicitCache(nn.Module):
    """GPT-2 as a function of the new ids and the keys and values of the earlier ones.

    Shapes, for B rows, N new and P past positions, H heads of width D, S = P + N:
    input_ids [B, N], attention_mask [B, S], position_ids [B, N], beam_idx [B], past 2 × layers × [B, H, P, D]
    → logits [B, N, rows], present 2 × layers × [B, H, S, D].

    Of the vocabulary the ids in `kept` have a row each, in their order; None: all.
    """

    def __init__(
        self, model: GPT2LMHeadModel, banned_ids: Sequence[int] = (), kept: Ranges | None = None
    ) -> None:
        super().__init__()
        config, body = model.config, model.transformer
        self.heads, self.width = config.n_head, config.n_embd // config.n_head
        self.activation = activation(config.activation_function)
        self.tokens, self.places = body.wte, body.wpe
        layers: Any = body.h
        self.blocks = layers
        self.scales: list[float] = [block.attn.scaling for block in layers]
        self.norm = body.ln_f
        self.head = model.lm_head
        bias = torch.zeros(len(self.head.weight))
        bias[list(banned_ids)] = _BANNED_BIAS
        if kept is not None and kept != [(0, len(bias))]:
            tied, bias = self.head.weight is self.tokens.weight, _of_ranges(bias, kept)
            self.tokens = nn.Embedding(len(bias), config.n_embd, device="meta")
            self.tokens.weight = nn.Parameter(_of_ranges(body.wte.weight, kept))
            self.head = nn.Linear(config.n_embd, len(bias), bias=False, device="meta")
            self.head.weight = (
                self.tokens.weight if tied else nn.Parameter(_of_ranges(model.lm_head.weight, kept))
            )
        self.bias: Tensor
        self.register_buffer("bias", bias)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, beam_idx: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        hidden = self.tokens(input_ids) + self.places(position_ids)
        mask = _mask(attention_mask, input_ids.shape[1])
        present: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            query, key, value = self._heads(block, hidden)
            key = torch.cat([past[2 * index].index_select(0, beam_idx), key], dim=2)
            value = torch.cat([past[2 * index + 1].index_select(0, beam_idx), value], dim=2)
            present += [key, value]
            mixed = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, scale=self.scales[index]
            )
            hidden = hidden + _conv(block.attn.c_proj, mixed.transpose(1, 2).flatten(2))
            wide = self.activation(_conv(block.mlp.c_fc, block.ln_2(hidden)))
            hidden = hidden + _conv(block.mlp.c_proj, wide)
        return (self.head(self.norm(hidden)) + self.bias, *present)

    def _heads(self, block: Any, hidden: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each [B, H, N, D]."""
        parts = _conv(block.attn.c_attn, block.ln_1(hidden)).chunk(3, dim=-1)
        return tuple(p.view(*p.shape[:2], self.heads, self.width).transpose(1, 2) for p in parts)


def _of_ranges(rows: Tensor, ranges: Ranges) -> Tensor:
    return torch.cat([rows.detach()[a:b] for a, b in ranges])


def _conv(layer: Any, x: Tensor) -> Tensor:
    """A Conv1D as a matrix product; OpenVINO fuses a transposed weight, as in a Linear, with its product."""
    return functional.linear(x, layer.weight.t(), layer.bias)


def _mask(attention_mask: Tensor, new: int) -> Tensor:
    """[B, 1, N, S] boolean: an id sees itself and what came before, as far as the mask allows."""
    past_and_new = attention_mask.shape[1]
    places = torch.arange(past_and_new)
    causal = places[None, :] <= places[past_and_new - new :, None]
    return causal[None, None] & (attention_mask[:, None, None, :] > 0)


def exported(
    model: GPT2LMHeadModel,
    folder: Path,
    *,
    banned_ids: Sequence[int] = (),
    left_out: Sequence[int] = (),
    weights: Weights = "int8",
    preparing: Callable[[], None] = lambda: None,
) -> Path:
    """The model (fp32, on the CPU) as OpenVINO files in a folder under `folder`: those made before, or new ones.

    The name of the folder tells weights, precision and versions, so a changed model is never served from old
    files. Of earlier weights' files the latest stay, for they may still be served.

    banned_ids  are never sampled
    left_out    have no row in the files at all, so no prompt may hold them either (see `rows`)
    preparing   is called before the work of several seconds

    Raises EngineError when the model cannot be converted or the files cannot be written.
    """
    try:
        import openvino
    except ImportError as error:
        raise EngineError(
            f"OpenVINO cannot be used here ({error}): `pip install openvino-genai nncf`"
        ) from error
    check_banned((*banned_ids, *left_out), model.config.vocab_size)
    kept = kept_ranges(left_out, model.config.vocab_size)
    target = folder / f"{weights}-{_key(model, banned_ids, kept, weights, openvino.__version__)}"
    try:
        if whole(target):
            return target
        preparing()
        with _CONVERTING, drafted(folder) as draft:
            if not whole(target):  # another thread has just made it
                _write(model, draft, banned_ids, kept, weights)
                put_in_place(draft, target)
    except OSError as error:
        raise EngineError(f"the OpenVINO model cannot be written to {folder}: {error}") from error
    except (RuntimeError, ImportError) as error:
        why = " ".join(str(error).split())[-300:]
        raise EngineError(
            f"the model cannot be converted for OpenVINO, take --engine pytorch ({why})"
        ) from error
    tidy(folder, target)
    return target


def _key(
    model: GPT2LMHeadModel, banned_ids: Sequence[int], kept: Ranges, weights: Weights, version: str
) -> str:
    banned = sorted(set(banned_ids))
    facts = [FORMAT, version, weights, banned, kept, model.config.to_diff_dict(), digest(model)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def digest(model: GPT2LMHeadModel) -> str:
    """The hash of the weights. `kept.made_of` tells that of the weights which an export was made of."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _write(
    model: GPT2LMHeadModel, folder: Path, banned_ids: Sequence[int], kept: Ranges, weights: Weights
) -> None:
    import nncf
    import openvino

    module = ExplicitCache(model, banned_ids, kept)
    graph = _convert(model, module)
    if weights != "fp32":
        modes = {"int8": nncf.CompressWeightsMode.INT8_ASYM, "int4": nncf.CompressWeightsMode.INT4_SYM}
        # The embeddings and the head stay in int8: in int4 they cost a hundred times more quality.
        finer: dict[str, Any] = {}
        if weights == "int4":
            odd = nncf.AdvancedCompressionParameters(
                group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST
            )
            finer = {"group_size": 128, "advanced_parameters": odd}  # odd: widths that 128 does not divide
        with _quiet():
            graph = nncf.compress_weights(graph, mode=modes[weights], **finer)
    openvino.save_model(graph, folder / "openvino_model.xml", compress_to_fp16=False)
    _write_tokenizer(folder)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    least = sum(p.numel() for p in module.parameters()) // 2  # bytes, in int4
    if sizes["openvino_model.bin"] < least:  # OpenVINO does not notice a disk that is full
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    done = {"weights": weights, "sizes": sizes, "made_of": digest(model), "kept": kept}
    (folder / DONE).write_text(json.dumps(done), encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep nncf's tables and progress bars off stdout, where replies go."""
    console, log = rich.get_console(), logging.getLogger("nncf")
    before = console.quiet, log.level
    console.quiet = True
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        console.quiet = before[0]
        log.setLevel(before[1])


def _convert(model: GPT2LMHeadModel, module: ExplicitCache) -> Any:
    """The stateful OpenVINO model: its cache is inside."""
    import openvino
    from openvino._offline_transformations import apply_make_stateful_transformation

    config = model.config
    layers, heads, width = config.n_layer, config.n_head, config.n_embd // config.n_head
    past = [torch.zeros(1, heads, 2, width) for _ in range(2 * layers)]
    ids = torch.zeros(1, 3, dtype=torch.long)
    example = (ids, torch.ones(1, 5, dtype=torch.long), ids, torch.zeros(1, dtype=torch.long), *past)
    names = [f"{i}.{part}" for i in range(layers) for part in ("key", "value")]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the converter traces with torch.jit
        graph = openvino.convert_model(module, example_input=example)
    inputs = ["input_ids", "attention_mask", "position_ids", "beam_idx"]
    for port, name in zip(graph.inputs, [*inputs, *(f"past_key_values.{n}" for n in names)], strict=True):
        port.get_tensor().set_names({name})
    for out, name in zip(graph.outputs, ["logits", *(f"present.{n}" for n in names)], strict=True):
        out.get_tensor().set_names({name})
    for port, name in zip(graph.inputs, inputs, strict=False):
        rank = [-1] if name == "beam_idx" else [-1, -1]
        port.get_node().set_partial_shape(openvino.PartialShape(rank))
    for port in graph.inputs[len(inputs) :]:
        port.get_node().set_partial_shape(openvino.PartialShape([-1, heads, -1, width]))
    graph.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(graph, {f"past_key_values.{n}": f"present.{n}" for n in names})
    _start_empty(graph)
    return graph


def _start_empty(graph: Any) -> None:
    """Let the cache begin with no positions for as many rows as there are ids: [B, H, 0, D]."""
    import numpy as np
    from openvino import opset13 as ops

    rows = ops.gather(ops.shape_of(graph.input("input_ids")), ops.constant([0]), ops.constant(0))
    for node in graph.get_ops():
        if node.get_type_name() == "ReadValue":
            _, heads, _, width = (size.min_length for size in node.get_output_partial_shape(0))
            rest = ops.constant(np.array([heads, 0, width], dtype=np.int64))
            nothing = ops.constant(0.0, dtype=node.get_output_element_type(0))
            node.set_arguments([ops.broadcast(nothing, ops.concat([rows, rest], axis=0))])
    graph.validate_nodes_and_infer_types()


def _write_tokenizer(folder: Path) -> None:
    """The pipeline wants a tokenizer beside the model though it is given ids: the smallest there is."""
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from transformers import BertTokenizerFast  # type: ignore[attr-defined]

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer, detokenizer = convert_tokenizer(
        BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}), with_detokenizer=True
    )
    openvino.save_model(tokenizer, folder / "openvino_tokenizer.xml")
    openvino.save_model(detokenizer, folder / "openvino_detokenizer.xml")
