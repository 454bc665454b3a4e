"""The dialogues in corpus/ keep the rules they were written by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatgpt2.corpus import bundled_corpus, open_corpus_file, read_corpus

Said = tuple[str, ...]


def _files() -> list[Path]:
    return sorted(bundled_corpus().glob("*.txt"))


@pytest.fixture(scope="module")
def dialogues() -> list[Said]:
    return [tuple(turn.text for turn in d.turns) for d in read_corpus(bundled_corpus())]


def test_there_are_enough(dialogues: list[Said]) -> None:
    assert len(dialogues) >= 1200
    assert sum(map(len, dialogues)) >= 5000
    assert len(_files()) >= 18  # a file per theme


def test_each_has_two_to_twelve_turns_and_the_bot_speaks_last(dialogues: list[Said]) -> None:
    assert [said for said in dialogues if not 2 <= len(said) <= 12] == []
    assert [said for said in dialogues if len(said) % 2] == []


@pytest.mark.parametrize("path", _files(), ids=lambda path: path.stem)
def test_files_are_plain(path: Path) -> None:
    file = open_corpus_file(path)
    assert (file.format, file.source.encoding) == ("text", "utf-8")
    lines = path.read_text(encoding="utf-8").split("\n")
    assert [line for line in lines if line != line.strip() or not line.isprintable()] == []


def test_no_dialogue_comes_twice(dialogues: list[Said]) -> None:
    assert [said for said, count in Counter(dialogues).items() if count > 1] == []


def test_few_utterances_are_repeated(dialogues: list[Said]) -> None:
    utterances = Counter(text for said in dialogues for text in said)
    repeated = sum(count for text, count in utterances.items() if count > 1 and len(text) > 4)
    assert repeated < 0.02 * utterances.total()


def test_no_two_dialogues_are_nearly_the_same(dialogues: list[Said]) -> None:
    alike = [(dialogues[a], dialogues[b]) for a, b, share in _sharing(dialogues) if share > 0.4]
    assert alike == []


def _sharing(dialogues: list[Said]) -> Iterator[tuple[int, int, float]]:
    """Pairs of dialogues and the share of the shorter one's character 4-grams that both have."""
    texts = ["\n".join(said) for said in dialogues]
    grams = [{text[i : i + 4] for i in range(len(text) - 3)} for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    for number, own in enumerate(grams):
        shared = Counter(other for gram in own for other in holders[gram])
        for other, count in shared.items():
            yield other, number, count / min(len(own), len(grams[other]))
        for gram in own:
            holders[gram].append(number)


def test_the_measure_finds_a_near_duplicate() -> None:
    one = ("今天天气怎么样", "听说外面在下大雨呢", "那我带把伞出门吧")
    other = ("今天天气怎么样", "听说外面在下大雨呢", "那我不出门了")
    pairs = list(_sharing([one, ("你会做饭吗", "我只会聊天"), other]))
    assert [(a, b) for a, b, share in pairs if share > 0.4] == [(0, 2)]
