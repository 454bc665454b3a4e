"""What a model is made of, and what it takes to train and to serve it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from chatgpt2.checkpoint import AnyCheckpoint, is_adapter
from chatgpt2.heads import Judge, open_any
from chatgpt2.textcodec import TextCodec

_STEP = 1024  # tokens of a training step
_LENGTH = 64  # of a row of it
_FLOAT, _INT8 = 4, 1  # bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Modules of one kind. `shapes` of one of them; weights that are another part's are counted there."""

    name: str
    count: int
    parameters: int
    shapes: dict[str, tuple[int, ...]]
    shared: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """Memory is in bytes and an estimate: weights, gradients and the optimizer's state are counted, the rest follows
    the shapes.

    facts       path, kind, size, tokenizer, and the card: how it was trained and how good it is
    parts       in the order in which an id passes them
    tied        whether head and token embedding are one matrix
    train       fp32 weights and gradients, Muon for the block matrices and AdamW for the rest, a step of 1,024 tokens
    serve       each way of serving one conversation that fills the window
    """

    facts: dict[str, Any]
    parts: tuple[Part, ...]
    tied: bool
    train: int
    serve: dict[str, int]

    def as_object(self) -> dict[str, Any]:
        """For JSON: the facts beside the rest."""
        whole = asdict(self)
        return {**whole.pop("facts"), **whole}


_HEADS = {"lm_head": "head", "score": "head that judges", "value_head": "value head"}


def describe(model: str | Path) -> Description:
    """What the model in a directory (or on the hub) is made of, with whatever heads it has, and what it takes.

    Raises CheckpointError when it cannot be loaded.
    """
    found = open_any(model)
    parts, tied = _parts(found.model)
    return Description(_facts(found), parts, tied, _to_train(found.model), _to_serve(found.model))


def _parts(model: PreTrainedModel) -> tuple[tuple[Part, ...], bool]:
    body: Any = model.transformer
    heads = {name: getattr(model, name) for name in _HEADS if hasattr(model, name)}
    tied = "lm_head" in heads and heads["lm_head"].weight is body.wte.weight
    shared = {"lm_head": "token embedding" if tied else ""}
    blocks = list(body.h)
    parts = (
        _part("token embedding", [body.wte]),
        _part("position embedding", [body.wpe]),
        _part("attention", [block.attn for block in blocks]),
        _part("feed-forward", [block.mlp for block in blocks]),
        _part("norms of blocks", [norm for block in blocks for norm in (block.ln_1, block.ln_2)]),
        _part("last norm", [body.ln_f]),
        *(_part(_HEADS[name], [each], shared.get(name, "")) for name, each in heads.items()),
    )
    return parts, tied


def _facts(found: AnyCheckpoint | Judge) -> dict[str, Any]:
    assert found.path is not None
    config, card = found.model.config, asdict(found.card)
    files = [path.stat().st_size for path in found.path.iterdir() if path.is_file()]
    return {
        "path": str(found.path),
        "kind": _kind(found),
        "megabytes": round(sum(files) / 1e6, 1),
        "parameters": found.model.num_parameters(),
        "shape": f"{config.n_layer} layers × {config.n_embd}, {config.n_head} heads",
        "entries": len(found.codec.vocabulary),
        **card,
        "tokenizer": _tokenizer(found),
    }


def _kind(found: AnyCheckpoint | Judge) -> str:
    if isinstance(found, Judge):
        return f"{found.head}: {', '.join(found.labels)}"
    assert found.path is not None
    return "LoRA adapter" if is_adapter(found.path) else "model"


def _tokenizer(found: AnyCheckpoint | Judge) -> str:
    codec = found.codec
    kind = codec.kind if isinstance(codec, TextCodec) else "bert"
    spare = found.model.config.vocab_size - len(codec.vocabulary)
    ends = " ".join(codec.vocabulary[number] for number in codec.stop_ids)
    rows = f", {spare:,} rows of the embedding belong to none" if spare else ""
    return f"{kind}, window {codec.window:,}, a text ends with {ends or 'nothing'}{rows}"


def _part(name: str, modules: list[object], shared: str = "") -> Part:
    found = [dict(module.named_parameters()) for module in modules]  # type: ignore[attr-defined]
    shapes = {key: tuple(each.shape) for key, each in found[0].items()} if found else {}
    total = 0 if shared else sum(each.numel() for some in found for each in some.values())
    return Part(name, len(modules), total, shapes, shared)


def _to_train(model: Any) -> int:
    total: int = model.num_parameters()
    matrices = sum(p.numel() for p in model.transformer.h.parameters() if p.ndim == 2)
    state = matrices + 2 * (total - matrices)  # Muon keeps one number for each weight, AdamW two
    config = model.config
    # arXiv:2205.05198: in bf16 34 bytes for each of tokens × width in a block, and 5 for each score of attention.
    activations = _STEP * config.n_layer * (34 * config.n_embd + 5 * config.n_head * _LENGTH)
    return int(_FLOAT * (2 * total + state) + activations)


def _to_serve(model: Any) -> dict[str, int]:
    config, total = model.config, int(model.num_parameters())
    cache: int = 2 * config.n_layer * config.n_positions * config.n_embd  # keys and values
    return {"pytorch fp32": _FLOAT * (total + cache), "openvino int8": _INT8 * (total + cache)}
