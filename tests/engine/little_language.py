"""A made-up language and a GPT-2 of 100,000 weights that learns it in seconds, so that its logits have clear
winners: on random weights near-ties flip with the shape of a matrix product."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import GPT2Config, GPT2LMHeadModel

VOCABULARY = 60
PAD, UNK, CLS, SEP = 0, 1, 2, 3
BANNED = (PAD, UNK, CLS)
_FIRST_WORD = 4
WINDOW = 96


def dialogue(rng: random.Random, turns: int = 4) -> list[int]:
    """A made-up language: each word decides the next, across turns too; a turn ends after words of one
    kind, and one word in ten is free."""
    words = VOCABULARY - _FIRST_WORD
    ids, word = [CLS], rng.randrange(words)
    for _ in range(turns):
        for _ in range(9):
            ids.append(_FIRST_WORD + word)
            ended = word % 5 == 0
            word = rng.randrange(words) if rng.random() < 0.1 else (word * 3 + 5) % words
            if ended:
                break
        ids.append(SEP)
    return ids


def prompts(count: int, seed: int = 1) -> list[list[int]]:
    """Dialogues that end after a turn, of many lengths."""
    rng = random.Random(seed)
    return [dialogue(rng, rng.randint(1, 6)) for _ in range(count)]


def small_model() -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=WINDOW,
        n_embd=64,
        n_layer=2,
        n_head=2,
        bos_token_id=CLS,
        eos_token_id=SEP,
        pad_token_id=PAD,
    )
    return GPT2LMHeadModel(config)


def _train(model: GPT2LMHeadModel, steps: int) -> None:
    rng = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = [dialogue(rng, 8)[:48] for _ in range(16)]
        width = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
        loss = model(input_ids=ids, labels=ids.masked_fill(ids == PAD, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from several threads, and lose much on a machine that is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained_model(steps: int = 200) -> GPT2LMHeadModel:
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(0)
        model = small_model()
        _train(model, steps)
    return model.eval()
