from __future__ import annotations

import pytest
import torch

from chatgpt2.training import loss as module
from chatgpt2.training.loss import linear_cross_entropy


@pytest.mark.parametrize("chunk_bytes", [4 * 50 * 3, 1 << 20])
def test_value_and_gradients_equal_the_plain_way(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk_bytes)
    torch.manual_seed(0)
    hidden = torch.randn(10, 8, requires_grad=True)
    weight = torch.randn(50, 8, requires_grad=True)
    targets = torch.randint(0, 50, (10,))
    plain = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    wanted = torch.autograd.grad(plain * 0.3, (hidden, weight))
    fused = linear_cross_entropy(hidden, weight, targets, torch.float32)
    got = torch.autograd.grad(fused * 0.3, (hidden, weight))
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(got, wanted)


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden = torch.randn(4, 8, requires_grad=True)
    weight = torch.randn(50, 8)
    linear_cross_entropy(hidden, weight, torch.tensor([1, 2, 3, 4]), torch.float32).backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_without_gradients_only_the_value_is_worked_out() -> None:
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(50, 8)
    targets = torch.tensor([1, 2, 3, 4])
    with torch.no_grad():
        value = linear_cross_entropy(hidden, weight, targets, torch.float32)
    plain = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(value, plain.detach())


def test_no_rows_give_zero_and_zero_gradients() -> None:
    hidden = torch.randn(0, 8, requires_grad=True)
    weight = torch.randn(50, 8, requires_grad=True)
    total = linear_cross_entropy(hidden, weight, torch.zeros(0, dtype=torch.int64), torch.float32)
    total.backward()
    assert total.item() == 0
    assert weight.grad is not None and not weight.grad.any()


def test_bf16_is_close_to_fp32() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(64, 32), torch.randn(200, 32)
    targets = torch.randint(0, 200, (64,))
    exact = linear_cross_entropy(hidden, weight, targets, torch.float32)
    rough = linear_cross_entropy(hidden, weight, targets, torch.bfloat16)
    assert abs(rough / exact - 1) < 0.01
