"""Models of other programs → a directory that everything loads: GPT2-chitchat, old pytorch_model.bin, UER, CDial."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from chatgpt2.anycodec import AnyCodec
from chatgpt2.checkpoint import save_checkpoint, set_special_ids
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.surgery.place import fresh_folder
from chatgpt2.surgery.spoken import Objective, card_of, codec_of, narrowed, objective_of

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.bin", "*.pt", "*.pth")
_WRAPPINGS = ("state_dict", "model", "model_state_dict", "module")
_WRAPPED_NAME = re.compile(r"^(module\.|_orig_mod\.|model\.(?=transformer\.|lm_head\.))")
_BUFFER = re.compile(r"\.attn\.(bias|masked_bias)$")  # the causal mask, which older versions kept in the file
_HEAD, _TOKENS = "lm_head.weight", "transformer.wte.weight"
_WIDTH_OF_A_HEAD = 64
_TRANSLATED = "UER names were translated"

# UER-py's names (its own converter says the same). True: a Linear, whose matrix Conv1D keeps transposed.
_UER = {
    "self_attn.final_linear.weight": ("attn.c_proj.weight", True),
    "self_attn.final_linear.bias": ("attn.c_proj.bias", False),
    "layer_norm_1.gamma": ("ln_1.weight", False),
    "layer_norm_1.beta": ("ln_1.bias", False),
    "feed_forward.linear_1.weight": ("mlp.c_fc.weight", True),
    "feed_forward.linear_1.bias": ("mlp.c_fc.bias", False),
    "feed_forward.linear_2.weight": ("mlp.c_proj.weight", True),
    "feed_forward.linear_2.bias": ("mlp.c_proj.bias", False),
    "layer_norm_2.gamma": ("ln_2.weight", False),
    "layer_norm_2.beta": ("ln_2.bias", False),
}
_UER_TOP = {
    "embedding.word_embedding.weight": _TOKENS,
    "embedding.word.embedding.weight": _TOKENS,
    "embedding.position_embedding.weight": "transformer.wpe.weight",
    "embedding.pos.embedding.weight": "transformer.wpe.weight",
    "encoder.layer_norm.gamma": "transformer.ln_f.weight",
    "encoder.layer_norm.beta": "transformer.ln_f.bias",
    "target.output_layer.weight": _HEAD,
    "target.lm.output_layer.weight": _HEAD,
}
_UER_LAYER = re.compile(r"encoder\.transformer\.(\d+)\.(.+)")
_UER_QKV = re.compile(r"self_attn\.linear_layers\.([012])\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Converted:
    """What was found and put right, one line each, and what the model is for."""

    notes: tuple[str, ...]
    objective: Objective


def convert(
    source: str | Path,
    out: str | Path,
    *,
    vocabulary: str | Path | None = None,
    objective: Objective | None = None,
    force: bool = False,
) -> Converted:
    """Write the model in `source`, a folder or a file of weights, to `out` as a plain Hugging Face directory.

    vocabulary  vocab.txt, where it does not lie beside the weights
    objective   what it has learned, dialogue or text; None: told from the files

    Files are read with `weights_only`: one that would run code is refused. Raises CheckpointError or ConfigError.
    """
    source, vocabulary = Path(source), None if vocabulary is None else Path(vocabulary)
    if not source.exists():
        raise ConfigError(f"{source} is not there: name a folder with weights, or the file itself")
    folder = source if source.is_dir() else source.parent
    notes: list[str] = []
    state = named(_read(source), notes)
    learned = objective_of(folder, objective, vocabulary, uer=_TRANSLATED in notes, notes=notes)
    codec = codec_of(folder, learned, vocabulary)
    model = _model(state, _config(folder / "config.json"), notes)
    codec = narrowed(codec, min(codec.window, model.config.n_positions))
    _check_entries(codec, model, notes)
    set_special_ids(model, codec)
    with fresh_folder(Path(out), force=force, source=folder) as draft:
        save_checkpoint(draft, model, codec, card_of(codec, learned))
    return Converted(tuple(notes), learned)


def _read(source: Path) -> dict[str, Tensor]:
    files = [source]
    if source.is_dir():
        files = next((sorted(source.glob(each)) for each in _WEIGHTS if any(source.glob(each))), [])
    if not files:
        raise CheckpointError(f"{source} has no weights (model.safetensors, pytorch_model.bin, *.pt)")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= _read_file(file)
    return state


def _read_file(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        raw: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}): copy it again") from error
    except Exception as error:  # pickle, zip and torch each have their own
        raise CheckpointError(
            f"{file} cannot be loaded with weights_only, so it is damaged or holds more than weights: save the "
            "state_dict alone, with torch.save(model.state_dict(), …), where it was made"
        ) from error
    for name in _WRAPPINGS:
        if isinstance(raw, Mapping) and isinstance(raw.get(name), Mapping):
            raw = raw[name]
    tensors = {str(k): v for k, v in raw.items() if isinstance(v, Tensor)} if isinstance(raw, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{file} holds no named weights")
    return tensors


def named(state: Mapping[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """The tensors under the names that GPT2LMHeadModel gives them; what was done goes into `notes`."""
    plain = {_WRAPPED_NAME.sub("", name): each.float() for name, each in state.items()}
    if any("tokens_embed" in name for name in plain):
        raise CheckpointError(
            "these are the weights of an OpenAI GPT (the first, as CDial-GPT_LCCC-base): it norms after each part "
            "and not before, so no GPT-2 computes the same. CDial-GPT2_LCCC-base is a GPT-2"
        )
    if any(name.startswith("encoder.transformer.") for name in plain):
        notes.append(_TRANSLATED)
        return _from_uer(plain)
    kept = {name: each for name, each in plain.items() if not _BUFFER.search(name)}
    if len(kept) < len(plain):
        notes.append("the causal masks kept by older versions were left out")
    if "wte.weight" in kept:
        notes.append("names without `transformer.` (a GPT2Model) were completed")
        kept = {
            name if name.startswith("lm_head.") else f"transformer.{name}": each
            for name, each in kept.items()
        }
    return kept


def _from_uer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    apart: dict[str, dict[int, Tensor]] = {}
    for name, each in state.items():
        layer = _UER_LAYER.fullmatch(name)
        if layer is None:
            found[_UER_TOP.get(name, name)] = each
        elif qkv := _UER_QKV.fullmatch(layer[2]):
            apart.setdefault(f"transformer.h.{layer[1]}.attn.c_attn.{qkv[2]}", {})[int(qkv[1])] = each
        elif layer[2] in _UER:
            to, turned = _UER[layer[2]]
            found[f"transformer.h.{layer[1]}.{to}"] = (each.T if turned else each).contiguous()
        else:
            found[name] = each
    for name, parts in apart.items():
        together = torch.cat([parts[number] for number in sorted(parts)])  # query, key, value
        found[name] = (together.T if name.endswith("weight") else together).contiguous()
    return found


def _config(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): restore it or delete it") from error
    return raw if isinstance(raw, dict) else {}


def _model(state: dict[str, Tensor], told: Mapping[str, Any], notes: list[str]) -> GPT2LMHeadModel:
    if _TOKENS not in state or "transformer.wpe.weight" not in state:
        names = ", ".join(sorted(state)[:3])
        raise CheckpointError(f"these are no weights of a GPT-2 that is known here ({names} …)")
    config = _sizes(state, told, notes)
    tokens = state[_TOKENS]
    head = state.setdefault(_HEAD, tokens)
    config.tie_word_embeddings = head.shape == tokens.shape and torch.equal(head, tokens)
    if not config.tie_word_embeddings:
        notes.append("head and token embedding differ: each keeps its own")
    model = GPT2LMHeadModel(config)
    try:
        report = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights do not fit together: {str(error).splitlines()[-1].strip()}"
        ) from error
    for what, names in (
        ("are missing", report.missing_keys),
        ("are known to no GPT-2", report.unexpected_keys),
    ):
        if names:
            raise CheckpointError(f"{len(names)} weights {what} ({names[0]} …)")
    model.train(False)
    return model


def _sizes(state: Mapping[str, Tensor], told: Mapping[str, Any], notes: list[str]) -> GPT2Config:
    """Sizes are the weights' own; config.json tells only what they do not."""
    rows, width = state[_TOKENS].shape
    layers = 1 + max(
        (int(n) for name in state for n in re.findall(r"^transformer\.h\.(\d+)\.", name)), default=-1
    )
    heads = told.get("n_head") or told.get("heads_num")
    if not heads:
        heads = max(1, width // _WIDTH_OF_A_HEAD)
        notes.append(
            f"no config.json tells the number of heads: {heads}, each {width // heads} wide, is assumed"
        )
    if width % heads:
        raise CheckpointError(
            f"{heads} heads do not divide a width of {width}: put n_head into config.json right"
        )
    known = {
        "activation_function",
        "layer_norm_epsilon",
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "initializer_range",
    }
    return GPT2Config(
        vocab_size=rows,
        n_positions=state["transformer.wpe.weight"].shape[0],
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        bos_token_id=None,
        eos_token_id=None,
        **{name: told[name] for name in known & told.keys()},
    )


def _check_entries(codec: AnyCodec, model: GPT2LMHeadModel, notes: list[str]) -> None:
    rows, entries = model.config.vocab_size, len(codec.vocabulary)
    if entries > rows:
        raise CheckpointError(
            f"the vocabulary has {entries} entries but the model only {rows}: give its own with --vocabulary"
        )
    if entries < rows:
        notes.append(f"{rows - entries} rows of the embedding belong to no entry; they are never said")
    ids = (codec.bos_id, codec.eos_id, codec.pad_id)
    names = ["none" if each is None else codec.vocabulary[each] for each in ids]
    numbers = ", ".join(str(each) for each in ids if each is not None)
    notes.append(f"bos, eos and pad are {names[0]}, {names[1]} and {names[2]} (ids {numbers})")
