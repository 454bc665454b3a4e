"""The readers on real corpora, which stand outside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatgpt2.corpus import Tally, open_corpus_file, read_corpus
from chatgpt2.errors import CorpusError

DATA = os.environ.get("CHATGPT2_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="CHATGPT2_DATA names no folder of real corpora")


@pytest.mark.parametrize(
    ("name", "format", "dialogues", "turns"),
    [
        ("dialogues/gpt2chitchat_shard0.txt", "text", 16_038, 65_418),
        ("dialogues/lccc_base_valid.json", "json", 20_000, 56_917),
        ("sft/alpaca_zh.json", "json", 200, 400),
        ("sft/sharegpt_zh.jsonl", "jsonl", 100, 1_266),  # of 1,300 messages 17 are empty, 17 merged
        ("sft/openai_messages_list_content.jsonl", "jsonl", 50, 100),
    ],
)
def test_counts(name: str, format: str, dialogues: int, turns: int) -> None:
    path = Path(DATA or "") / name
    tally = Tally()
    assert open_corpus_file(path).format == format
    read = list(read_corpus(path, tally=tally))
    assert (len(read), sum(map(len, read)), tally.bad) == (dialogues, turns, 0)
    assert all(turn.text for dialogue in read for turn in dialogue.turns)


def test_lccc_is_joined() -> None:
    texts = [
        t.text for d in read_corpus(Path(DATA or "") / "dialogues/lccc_base_valid.json") for t in d.turns
    ]
    assert sum(" " in text for text in texts) == 0


@pytest.mark.parametrize(
    "name", ["reviews/dev.tsv", "reviews/chnsenticorp.txt", "chatlogs/wechat_pywxdump.csv"]
)
def test_what_is_no_dialogue_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"line 1: .*expected"):
        list(read_corpus(Path(DATA or "") / name))


def test_novels_and_articles_in_a_folder_are_passed_over() -> None:
    tally = Tally()
    list(read_corpus(Path(DATA or "") / "text", tally=tally))
    assert {"xiyouji.txt", "wikitext2_valid.txt"} <= {path.name for path, _ in tally.skipped}
