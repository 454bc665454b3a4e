"""One optimizer: Muon for the block matrices, AdamW for everything else.

Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a weight matrix
by its nearest semi-orthogonal matrix. GPT-2 keeps `c_attn` as one [d, 3d] matrix: its query, key and value
parts are orthogonalised apart, because they are three maps. `torch.optim.Muon` walks the matrices one by
one; here equal shapes are stacked, so that a CPU sees few large products instead of many small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer

# Quintic Newton-Schulz coefficients (same source): push every singular value into about [0.7, 1.2].
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(x: Tensor, steps: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The nearest semi-orthogonal matrices to `x` [n, rows, cols], roughly, worked out in `dtype`."""
    tall = x.size(-2) > x.size(-1)
    x = x.to(dtype)
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if tall else x


class MuonAdamW(Optimizer):
    """Muon on the groups marked `muon`, AdamW (Loshchilov and Hutter, arXiv:1711.05101) on the others.

    Both take the same kind of learning rate, because a Muon update is scaled by 0.2·√max(rows, cols) to the
    root mean square that an Adam update has (Moonlight, arXiv:2502.16982).
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "muon": False,
            "parts": 1,
            "momentum": 0.95,
            "newton_schulz": 5,
            "dtype": torch.bfloat16,
            "betas": (0.9, 0.95),
            "eps": 1e-8,
            "weight_decay": 0.0,
        }
        super().__init__(list(groups), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            decay = 1 - group["lr"] * group["weight_decay"]
            if decay != 1:
                torch._foreach_mul_(parameters, decay)
            if group["muon"]:
                self._muon(group, parameters)
            else:
                self._adam(group, parameters)
        return loss

    def _muon(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, p in enumerate(parameters):
            by_shape.setdefault(tuple(p.shape), []).append(i)
        for (rows, cols), chosen in by_shape.items():
            parts = group["parts"]
            stack = torch.stack([nesterov[i] for i in chosen])  # [n, rows, cols]
            # [n, rows, parts·c] -> [n·parts, rows, c]
            split = torch.cat(stack.chunk(parts, dim=-1)) if parts > 1 else stack
            update = orthogonalise(split, group["newton_schulz"], group["dtype"])
            scale = 0.2 * max(rows, cols // parts) ** 0.5
            whole = torch.cat(update.chunk(parts), dim=-1) if parts > 1 else update
            targets = [parameters[i] for i in chosen]
            torch._foreach_add_(targets, list(whole.to(stack.dtype).unbind()), alpha=-group["lr"] * scale)

    def _adam(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            if "step" not in self.state[p]:
                self.state[p].update(
                    step=torch.zeros((), dtype=torch.float32, device=p.device),
                    exp_avg=torch.zeros_like(p),
                    exp_avg_sq=torch.zeros_like(p),
                )
        states = [self.state[p] for p in parameters]
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            self._advance(states),
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    @staticmethod
    def _advance(states: list[dict[str, Any]]) -> list[Tensor]:
        steps = [s["step"] for s in states]
        torch._foreach_add_(steps, 1)
        return steps


def parameter_groups(model: Module, optimizer: str, lr: float, *, bf16: bool = True) -> list[dict[str, Any]]:
    """The trainable parameters of a GPT-2 in groups for MuonAdamW.

    `optimizer` "adamw" gives the block matrices to AdamW too. LoRA's narrow matrices always go to AdamW:
    orthogonalising them would fix their few singular values. Without `bf16` Muon works in float32.
    """
    fused: list[Parameter] = []
    square: list[Parameter] = []
    tables: list[Parameter] = []
    rest: list[Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim != 2:
            rest.append(parameter)
        elif ".h." not in name or "lora_" in name:
            tables.append(parameter)
        else:
            (fused if "c_attn" in name else square).append(parameter)
    dtype = torch.bfloat16 if bf16 else torch.float32
    if optimizer == "adamw":
        kinds: list[dict[str, Any]] = [{"params": [*fused, *square]}, {"params": tables}, {"params": rest}]
    else:
        kinds = [
            {"params": fused, "muon": True, "parts": 3, "dtype": dtype},
            {"params": square, "muon": True, "dtype": dtype},
            {"params": tables},
            {"params": rest},
        ]
    return [{**kind, "lr": lr} for kind in kinds if kind["params"]]
