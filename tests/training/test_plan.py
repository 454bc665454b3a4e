from __future__ import annotations

import numpy as np
import pytest

from chatgpt2.batches import (
    Deal,
    collate,
    cut_batches,
    epoch_batches,
    held_out_count,
    split_held_out,
)
from chatgpt2.errors import ConfigError
from chatgpt2.material import BatchStream, count_batches, pile_of
from chatgpt2.tokens import Counts, TokenFile
from chatgpt2.training.options import RunOptions, TextOptions, TrainOptions
from chatgpt2.training.plan import (
    default_batch_tokens,
    default_epochs,
    make_plan,
    steps_in_time,
    steps_without_clock,
)
from chatgpt2.training.schedule import learning_rate_factor


def token_file(lengths: list[int], dialogues: list[int] | None = None) -> TokenFile:
    """Examples of these lengths: [CLS] (2), then ids that tell where they are from."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.concatenate([[2, *range(10 * n + 10, 10 * n + 9 + length)] for n, length in enumerate(lengths)])
    learn = np.ones(len(ids), dtype=bool)
    learn[offsets[:-1]] = False
    names = dialogues if dialogues is not None else list(range(len(lengths)))
    return TokenFile(
        ids=ids.astype(np.uint16),
        learn=learn,
        offsets=offsets,
        dialogue=np.array(names, dtype=np.uint64),
        characters=np.ones(len(lengths), dtype=np.int32),
        counts=Counts(dialogues=len(lengths)),
        fingerprint="test",
    )


LENGTHS = np.random.default_rng(0).integers(2, 60, 500)


def test_an_epoch_holds_every_example_once_within_the_budget() -> None:
    batches = list(epoch_batches(LENGTHS, np.arange(500), Deal(256, seed=1), epoch=0))
    assert sorted(n for batch in batches for row in batch for n in row) == list(range(500))
    assert all(len(row) == 1 for batch in batches for row in batch)
    padded = [max(LENGTHS[n] for (n,) in batch) * len(batch) for batch in batches]
    assert max(padded) <= 256
    assert LENGTHS.sum() / sum(padded) > 0.9  # little padding


def test_joined_examples_stand_in_one_row_no_longer_than_the_window() -> None:
    deal = Deal(256, seed=1, join=0.5, window=100)
    batches = list(epoch_batches(LENGTHS, np.arange(500), deal, epoch=0))
    rows = [row for batch in batches for row in batch]
    assert sorted(n for row in rows for n in row) == list(range(500))
    assert 300 < len(rows) < 400  # nearly half follow another one: a few would pass the window
    long = {tuple(row): sum(LENGTHS[n] for n in row) - len(row) + 1 for row in rows}
    assert max(long.values()) <= 100
    assert all(max(long[tuple(row)] for row in batch) * len(batch) <= 256 for batch in batches)


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    def epoch(seed: int, number: int) -> list[list[list[int]]]:
        return list(epoch_batches(LENGTHS, np.arange(500), Deal(256, seed, 0.3, 512), number))

    assert epoch(1, 0) == epoch(1, 0)
    assert epoch(1, 0) != epoch(1, 1)
    assert epoch(1, 0) != epoch(2, 0)


def test_an_example_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    lengths = np.array([5, 5, 300])
    assert [b.tolist() for b in cut_batches(lengths, np.arange(3), 64)] == [[0, 1], [2]]


def test_processes_share_every_batch() -> None:
    tokens = token_file([4] * 50)

    def stream(rank: int, world: int) -> list[list[list[int]]]:
        deal = Deal(40, 3, 0.5, 20)
        return list(BatchStream(pile_of(tokens, 0), deal, steps=12, rank=rank, world=world))

    whole, first, second = stream(0, 1), stream(0, 2), stream(1, 2)
    assert len(whole) == len(first) == len(second) == 12
    for all_of_it, a, b in zip(whole, first, second, strict=True):
        assert sorted(all_of_it) == sorted(a + b)


def test_collation_pads_right_and_points_at_the_place_before_each_label() -> None:
    tokens = token_file([4, 2])
    batch = collate(tokens, [[0], [1]], pad_id=0)
    assert batch.ids.tolist() == [[2, 10, 11, 12], [2, 20, 0, 0]]
    assert batch.places.tolist() == [0, 1, 2, 4]
    assert batch.labels.tolist() == [10, 11, 12, 20]
    assert batch.tokens == 6


def test_joined_examples_read_on_as_one_conversation() -> None:
    tokens = token_file([4, 2, 3])
    batch = collate(tokens, [[0, 2], [1]], pad_id=0)
    assert batch.ids.tolist() == [[2, 10, 11, 12, 30, 31], [2, 20, 0, 0, 0, 0]]  # one [CLS] a row
    assert batch.places.tolist() == [0, 1, 2, 3, 4, 6]
    assert batch.labels.tolist() == [10, 11, 12, 30, 31, 20]
    assert batch.tokens == 8


def test_an_empty_share_has_nothing_to_learn() -> None:
    batch = collate(token_file([4]), [], pad_id=0)
    assert batch.ids.shape[0] == 1
    assert len(batch.labels) == 0


def test_equal_dialogues_are_on_the_same_side_of_the_split() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 40, 300)
    tokens = token_file([3] * 300, hashes.tolist())
    train, out = split_held_out(tokens, 8)
    assert len(set(hashes[out].tolist())) == 8
    assert not set(hashes[train].tolist()) & set(hashes[out].tolist())
    assert len(train) + len(out) == 300


@pytest.mark.parametrize(
    ("distinct", "fraction", "wanted"),
    [(1, None, 0), (19, None, 0), (20, None, 10), (1200, None, 60), (10**6, None, 1000), (1200, 0.5, 600)],
)
def test_how_much_is_held_out_scales_with_the_data(distinct: int, fraction: float, wanted: int) -> None:
    assert held_out_count(distinct, fraction) == wanted


def test_a_corpus_of_one_dialogue_keeps_it_for_training() -> None:
    train, out = split_held_out(token_file([5]), 1)
    assert len(train) == 1
    assert len(out) == 0


def test_what_is_passed_over_many_times_has_dropout_and_texts_more() -> None:
    def dropout(options: RunOptions, passes: float) -> float:
        return make_plan(options, 100, 1024, False, passes=passes).dropout

    assert [dropout(TrainOptions(), passes) for passes in (4, 5)] == [0, 0.1]
    assert [dropout(TextOptions(), passes) for passes in (4, 5)] == [0, 0.2]
    assert dropout(TextOptions(dropout=0.3), 1) == 0.3


def test_defaults_scale_with_the_data() -> None:
    assert default_batch_tokens(40, "cpu") == 64
    assert default_batch_tokens(90_000, "cpu") == 1024
    assert default_batch_tokens(40_000_000, "cuda:0") == 16_384
    assert default_epochs(40, tuning=False) == 40
    assert default_epochs(40_000_000, tuning=False) == 3
    tokens = token_file([20])
    steps, _ = steps_without_clock(TrainOptions(), pile_of(tokens, 0), 64, 512)
    assert make_plan(TrainOptions(), 100, 1024, False, passes=5).join == 0.3
    assert make_plan(TrainOptions(), 100, 1024, False, passes=4).join == 0
    assert make_plan(TrainOptions(join=0.2), 100, 1024, False, passes=4).join == 0.2
    assert steps >= 60  # one dialogue is one step an epoch: it must still be learned


def test_the_schedule_cannot_end_above_where_it_peaks() -> None:
    with pytest.raises(ConfigError, match="--min-lr"):
        make_plan(TrainOptions(min_lr=0.5), 100, 1024, False)


@pytest.mark.parametrize("steps", [1, 2, 60, 1000, 100_000])
def test_the_warm_up_never_takes_most_of_a_run(steps: int) -> None:
    plan = make_plan(TrainOptions(), steps, 1024, False)
    assert 1 <= plan.warmup <= max(1, steps // 20)
    assert 1 <= plan.eval_every <= steps


def test_counting_batches_counts_what_the_stream_yields() -> None:
    steps = count_batches(pile_of(token_file(LENGTHS.tolist()), 0), Deal(256), epochs=2)
    one = [len(list(epoch_batches(LENGTHS, np.arange(500), Deal(256), e))) for e in (0, 1)]
    assert steps == sum(one)


def test_time_is_shared_between_steps_and_evaluations() -> None:
    assert steps_in_time(100, 1, 0) == (100, 10)
    assert steps_in_time(100, 1, 5) == (90, 2)
    assert steps_in_time(1, 10, 0) == (1, 10)


@pytest.mark.parametrize("shape", ["linear", "cosine", "constant"])
def test_schedules_warm_up_and_end_where_they_should(shape: str) -> None:
    def factor(step: int) -> float:
        return learning_rate_factor(step, steps=100, warmup=10, shape=shape, floor=0.1)

    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(10) == 1
    assert factor(100) == pytest.approx(1 if shape == "constant" else 0.1)
    assert all(factor(s) >= factor(s + 1) for s in range(10, 100))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"steps": 5, "minutes": 1.0}, "--steps and --minutes"),
        ({"steps": 0}, "--steps 0"),
        ({"lora": 4}, "--base"),
        ({"length": 4}, "--length 4"),
        ({"eval_fraction": 1.0}, "--eval-fraction"),
        ({"batch_tokens": 1}, "--batch-tokens"),
        ({"lr": 0.0}, "--lr"),
        ({"join": 1.0}, "--join"),
        ({"patience": 2, "save_every": 5}, "--save-every"),
        ({"patience": 2, "eval_every": 0}, "--eval-every 0"),
    ],
)
def test_options_that_cannot_work_are_named(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        TrainOptions(**wrong)  # type: ignore[arg-type]
