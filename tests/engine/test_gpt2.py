"""The forward pass over a cache of rows equals transformers' own."""

from __future__ import annotations

import pytest
import torch
from little_language import WINDOW, prompts, small_model
from transformers import GPT2Config, GPT2LMHeadModel

from chatgpt2.engine.gpt2 import Cache, Gpt2
from chatgpt2.errors import EngineError


def filled(gpt2: Gpt2, rows: list[list[int]]) -> Cache:
    """A cache that has read all but the last id of every row."""
    cache = gpt2.new_cache()
    cache.reserve(len(rows), max(map(len, rows)))
    for row, ids in enumerate(rows):
        cache.ids[row, : len(ids)] = torch.tensor(ids)
        if len(ids) > 1:
            gpt2.read(cache, row, 0, len(ids) - 1)
    return cache


def reference(model: GPT2LMHeadModel, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids])).logits[0, -1]


@torch.inference_mode()
def test_logits_of_rows_of_many_lengths_equal_transformers(model: GPT2LMHeadModel) -> None:
    rows = [*prompts(9), [2], prompts(1)[0] * 20]
    rows[-1] = rows[-1][: WINDOW - 1]
    gpt2 = Gpt2(model)
    logits = gpt2.next_logits(filled(gpt2, rows), [len(row) for row in rows])
    for got, row in zip(logits, rows, strict=True):
        torch.testing.assert_close(got, reference(model, row), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("cut", [1, 3, 10])
def test_a_prompt_may_be_read_in_parts(model: GPT2LMHeadModel, cut: int) -> None:
    ids = prompts(1)[0] * 2
    gpt2, cache = Gpt2(model), Gpt2(model).new_cache()
    cache.reserve(1, len(ids))
    cache.ids[0, : len(ids)] = torch.tensor(ids)
    gpt2.read(cache, 0, 0, cut)
    gpt2.read(cache, 0, cut, len(ids) - 1)
    torch.testing.assert_close(
        gpt2.next_logits(cache, [len(ids)])[0], reference(model, ids), rtol=1e-4, atol=1e-4
    )


@torch.inference_mode()
def test_rows_keep_their_content_when_the_cache_grows_or_they_move(model: GPT2LMHeadModel) -> None:
    rows = prompts(3)
    gpt2 = Gpt2(model)
    cache = filled(gpt2, rows)
    cache.reserve(9, WINDOW)
    cache.copy_row(2, 0, len(rows[2]))
    saved = cache.save(1, len(rows[1]) - 1)
    cache.restore(2, saved, len(rows[1]) - 1)
    cache.ids[2] = cache.ids[1]
    order = [rows[2], rows[1], rows[1]]
    logits = gpt2.next_logits(cache, [len(row) for row in order])
    for got, row in zip(logits, order, strict=True):
        torch.testing.assert_close(got, reference(model, row), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize(
    "unusual",
    [
        {"activation_function": "relu"},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
        {"n_inner": 32},
        {"tie_word_embeddings": False},
        {"layer_norm_epsilon": 1e-2},
        {"reorder_and_upcast_attn": True},
    ],
)
def test_configurations_of_gpt2_are_respected(unusual: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=30,
            n_positions=32,
            n_embd=16,
            n_layer=3,
            n_head=2,
            initializer_range=0.3,
            bos_token_id=1,
            eos_token_id=1,
            **unusual,
        )
    ).eval()
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    gpt2 = Gpt2(model)
    got = gpt2.next_logits(filled(gpt2, [ids]), [len(ids)])[0]
    torch.testing.assert_close(got, reference(model, ids), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_model_in_training_mode_is_run_without_dropout_and_left_alone(model: GPT2LMHeadModel) -> None:
    ids = prompts(1)[0]
    expected = reference(model, ids)
    model.train()
    try:
        gpt2 = Gpt2(model)
        got = gpt2.next_logits(filled(gpt2, [ids]), [len(ids)])[0]
        assert model.training
    finally:
        model.eval()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_bfloat16_stays_close(model: GPT2LMHeadModel) -> None:
    rows = prompts(8)
    gpt2 = Gpt2(model, torch.bfloat16)
    logits = gpt2.next_logits(filled(gpt2, rows), [len(row) for row in rows])
    assert logits.dtype == torch.float32
    for got, row in zip(logits, rows, strict=True):
        assert (got.softmax(-1) - reference(model, row).softmax(-1)).abs().max() < 0.05


def test_the_weights_are_shared_with_the_model_unless_converted() -> None:
    model = small_model()
    assert Gpt2(model)._tokens.data_ptr() == model.transformer.wte.weight.data_ptr()


def test_a_model_with_cross_attention_is_refused() -> None:
    config = GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=1, add_cross_attention=True)
    config.bos_token_id = config.eos_token_id = 1
    with pytest.raises(EngineError, match="cross-attention"):
        Gpt2(GPT2LMHeadModel(config))
