"""GPT-2's forward pass over a cache of rows, in plain torch on the model's own weights.

transformers' generate spends most of a step outside the matrix products and pads its cache to one length.
Here every running reply is a row of a preallocated cache, all rows are left-aligned, and a reply joins or
leaves by taking or giving up a row. Logits equal transformers' up to rounding (tested). There is no dropout
here, whatever mode the model is in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPT2LMHeadModel
from transformers.activations import ACT2FN

from chatgpt2.errors import EngineError

_FIRST_POSITIONS = 64  # what a new cache holds per row; it doubles up to the model's window


@dataclass(frozen=True, slots=True)
class Saved:
    """The keys and values of one sequence of ids, kept after its row was given up."""

    ids: tuple[int, ...]
    keys: Tensor  # [layers, heads, len(ids), width]
    values: Tensor  # the same


class Cache:
    """What the rows have read: their ids, keys and values. It grows as rows and positions are asked for."""

    def __init__(
        self, layers: int, heads: int, width: int, window: int, like: Tensor, pad_id: int = 0
    ) -> None:
        self._window = window
        self._pad_id = pad_id
        self.ids = torch.empty(0, 0, dtype=torch.long, device=like.device)  # [rows, positions]
        self.keys = like.new_empty(layers, 0, heads, 0, width)  # [layers, rows, heads, positions, width]
        self.values = self.keys.clone()

    def reserve(self, rows: int, positions: int) -> None:
        """Make room for `rows` rows of `positions` each; both double, so that growing is rare."""
        have_rows, have_positions = self.ids.shape
        if rows <= have_rows and positions <= have_positions:
            return
        wanted = max(have_positions, _FIRST_POSITIONS)
        while wanted < positions:
            wanted *= 2
        rows = max(rows, 2 * have_rows) if rows > have_rows else have_rows
        self._resize(rows, min(wanted, self._window))

    def _resize(self, rows: int, positions: int) -> None:
        """Zeros, not uninitialised memory: a masked NaN would still spoil the weighted sum."""
        have_rows, have_positions = self.ids.shape
        ids, keys, values = self.ids, self.keys, self.values
        layers, _, heads, _, width = keys.shape
        self.ids = ids.new_full((rows, positions), self._pad_id)
        self.keys = keys.new_zeros(layers, rows, heads, positions, width)
        self.values = torch.zeros_like(self.keys)
        self.ids[:have_rows, :have_positions] = ids
        self.keys[:, :have_rows, :, :have_positions] = keys
        self.values[:, :have_rows, :, :have_positions] = values

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Make row `target` what row `source` is; `length` positions of it are in use."""
        self.ids[target] = self.ids[source]
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]

    def save(self, row: int, length: int) -> Saved:
        """The first `length` positions of a row, as a copy that outlives it."""
        ids = tuple(self.ids[row, :length].tolist())
        return Saved(ids, self.keys[:, row, :, :length].clone(), self.values[:, row, :, :length].clone())

    def restore(self, row: int, saved: Saved, length: int) -> None:
        """Fill the first `length` keys and values of a row from a saved sequence."""
        self.keys[:, row, :, :length] = saved.keys[:, :, :length]
        self.values[:, row, :, :length] = saved.values[:, :, :length]


@dataclass(frozen=True, slots=True)
class _Block:
    """The weights of one layer. Conv1D keeps its matrices as [in, out], which is what addmm wants."""

    scale: float
    norm1: Tensor
    norm1_bias: Tensor
    attend: Tensor  # [embedding, 3 × embedding]
    attend_bias: Tensor
    project: Tensor
    project_bias: Tensor
    norm2: Tensor
    norm2_bias: Tensor
    widen: Tensor
    widen_bias: Tensor
    narrow: Tensor
    narrow_bias: Tensor

    @classmethod
    def of(cls, layer: torch.nn.Module, dtype: torch.dtype) -> _Block:
        names = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
        parts = [f"{name}.{part}" for name in names for part in ("weight", "bias")]
        scale: float = layer.attn.scaling  # type: ignore[assignment,union-attr]
        return cls(scale, *(layer.get_parameter(part).detach().to(dtype) for part in parts))


class Gpt2:
    """The forward pass of a `GPT2LMHeadModel` for rows of a cache.

    The weights are the model's own tensors, not copies, unless `dtype` asks for another precision.
    """

    def __init__(self, model: GPT2LMHeadModel, dtype: torch.dtype | None = None) -> None:
        config = model.config
        if config.add_cross_attention:
            raise EngineError("the model has cross-attention layers: only a decoder-only GPT-2 can be run")
        body = model.transformer
        dtype = dtype or body.wte.weight.dtype
        self.window: int = config.n_positions
        self.layers: int = config.n_layer
        self.heads: int = config.n_head
        self.width: int = config.n_embd // config.n_head
        self.vocabulary: int = model.lm_head.weight.shape[0]
        self._epsilon: float = config.layer_norm_epsilon
        self._tokens = body.wte.weight.detach().to(dtype)  # [vocabulary, embedding]
        self._places = body.wpe.weight.detach().to(dtype)  # [window, embedding]
        self._norm = (body.ln_f.weight.detach().to(dtype), body.ln_f.bias.detach().to(dtype))
        tied = model.lm_head.weight is body.wte.weight
        self._head = self._tokens if tied else model.lm_head.weight.detach().to(dtype)
        self._blocks = [_Block.of(layer, dtype) for layer in body.h]
        self._activation = activation(config.activation_function)

    def new_cache(self, pad_id: int = 0) -> Cache:
        """An empty cache for this model."""
        return Cache(self.layers, self.heads, self.width, self.window, self._tokens, pad_id)

    @property
    def device(self) -> torch.device:
        return self._tokens.device

    def read(self, cache: Cache, row: int, start: int, end: int) -> None:
        """Fill the keys and values of one row for its ids from `start` to `end`."""
        places = torch.arange(start, end, device=self.device).unsqueeze(0)
        self._run(cache, cache.ids[row : row + 1, start:end], places, end, row)

    def next_logits(self, cache: Cache, counts: Sequence[int]) -> Tensor:
        """Let row i read the last of its `counts[i]` ids; float32 logits [rows, vocabulary] of the next."""
        places = torch.tensor([count - 1 for count in counts], device=self.device).unsqueeze(1)
        return self.logits_at(cache, places, max(counts), masked=min(counts) < max(counts))

    def logits_at(self, cache: Cache, places: Tensor, longest: int, masked: bool = True) -> Tensor:
        """Let each of the first rows read its id at `places` [rows, 1], all of them below `longest`.

        Nothing here depends on the values in `places`, so that the work can be recorded. Without `masked` all of
        them must be `longest` - 1.
        """
        ids = cache.ids[: len(places)].gather(1, places)
        hidden = self._run(cache, ids, places, longest, 0, masked)
        return (hidden[:, -1] @ self._head.t()).float()

    def _run(
        self, cache: Cache, ids: Tensor, places: Tensor, longest: int, first_row: int, masked: bool = True
    ) -> Tensor:
        """Read `ids` [rows, new] into `places` of the rows from `first_row` on; hidden [rows, new, embedding]."""
        rows = len(ids)
        mask = _mask(places, longest, self._tokens.dtype) if masked else None
        where = torch.arange(first_row, first_row + rows, device=ids.device).unsqueeze(1)  # [rows, 1]
        hidden = functional.embedding(ids, self._tokens) + functional.embedding(places, self._places)
        for index, block in enumerate(self._blocks):
            keys, values = cache.keys[index], cache.values[index]  # [cache rows, heads, positions, width]
            query = self._write(block, hidden, keys, values, (where, places))
            mixed = functional.scaled_dot_product_attention(
                query,  # [rows, heads, new, width]
                keys[first_row : first_row + rows, :, :longest],
                values[first_row : first_row + rows, :, :longest],
                attn_mask=mask,
                scale=block.scale,
            )
            hidden = self._mix(block, hidden, mixed.transpose(1, 2).reshape(hidden.shape))
        return functional.layer_norm(hidden, hidden.shape[-1:], *self._norm, self._epsilon)

    def _write(
        self, block: _Block, hidden: Tensor, keys: Tensor, values: Tensor, at: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Put the new keys and values where they belong and return the queries [rows, heads, new, width]."""
        normed = functional.layer_norm(
            hidden, hidden.shape[-1:], block.norm1, block.norm1_bias, self._epsilon
        )
        parts = _linear(normed, block.attend, block.attend_bias)  # [rows, new, 3 × embedding]
        query, key, value = parts.view(*parts.shape[:2], 3, self.heads, self.width).unbind(2)
        keys[at[0], :, at[1]] = key  # [rows, new, heads, width]
        values[at[0], :, at[1]] = value
        return query.transpose(1, 2)

    def _mix(self, block: _Block, hidden: Tensor, mixed: Tensor) -> Tensor:
        hidden = hidden + _linear(mixed, block.project, block.project_bias)
        normed = functional.layer_norm(
            hidden, hidden.shape[-1:], block.norm2, block.norm2_bias, self._epsilon
        )
        wide = self._activation(_linear(normed, block.widen, block.widen_bias))
        return hidden + _linear(wide, block.narrow, block.narrow_bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [rows, new, in] through a Conv1D: addmm over all tokens at once."""
    return torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight).view(*x.shape[:-1], -1)


def _mask(places: Tensor, longest: int, dtype: torch.dtype) -> Tensor:
    """[rows, 1, new, longest]: 0 where a new token may look, -inf where not."""
    allowed = torch.arange(longest, device=places.device) <= places.unsqueeze(-1)  # [rows, new, longest]
    mask = torch.zeros(allowed.shape, dtype=dtype, device=places.device)
    return mask.masked_fill_(~allowed, -torch.inf).unsqueeze(1)


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """transformers writes gelu_new out in six operations; torch has it in one."""
    if name in ("gelu_new", "gelu_pytorch_tanh"):
        return lambda x: functional.gelu(x, approximate="tanh")
    function: Callable[[Tensor], Tensor] = ACT2FN[name]
    return function
