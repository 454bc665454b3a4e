from __future__ import annotations

from pathlib import Path

import pytest

from chatgpt2.codec import Codec
from chatgpt2.corpus import read_corpus
from chatgpt2.corpus.report import check_corpus
from chatgpt2.vocabulary import SPECIAL


def _codec(window: int = 16) -> Codec:
    return Codec([*SPECIAL, *"你好呀在吗的，"], window=window)


def test_a_file_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("你好\n你好呀\n\n在吗\n囧囧\n\n你好\n你好呀\n\n在吗“\n", encoding="utf-8")
    report = check_corpus([path], _codec())
    (file,) = report.files
    assert (file.format, file.encoding, file.error, file.problems) == ("text", "utf-8", None, [])
    found = file.figures
    assert (found.dialogues, found.turns, found.characters, found.single) == (4, 7, 17, 1)
    assert found.duplicates == 1
    assert found.outside_top[0] == ("囧", 2)
    assert found.percentiles[50] == 7  # [CLS] 你 好 [SEP] 囧 囧 [SEP]
    assert found.longest == 8
    assert found == report.total


def test_files_together(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("你好\n你好呀\n\n在吗\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("# 说明\n", encoding="utf-8")
    report = check_corpus([tmp_path], _codec())
    assert [file.figures.duplicates for file in report.files] == [0, 0]
    assert (report.total.dialogues, report.total.duplicates, report.total.single) == (4, 2, 2)
    assert report.skipped == [(tmp_path / "notes.md", "it is prose")]


@pytest.mark.parametrize("window", [8, 9, 16, 40])
def test_split_and_cut_are_those_of_the_codec(tmp_path: Path, window: int) -> None:
    path = tmp_path / "a.txt"
    sizes = [
        [1],
        [6],
        [7],
        [8, 1],
        [1, 9],
        [2, 2],
        [2, 3],
        [3, 3, 3],
        [15, 16, 17],
        [4] * 9,
        [40],
        [38],
        [39, 1],
    ]
    path.write_text("\n\n".join("\n".join("好" * n for n in said) for said in sizes), encoding="utf-8")
    codec = _codec(window)
    figures = check_corpus([path], codec).total
    examples = codec.encode_all(list(read_corpus(path)))
    assert (figures.split, figures.cut) == (examples.split, examples.cut)


def test_bad_records_and_unreadable_files_are_part_of_the_report(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('["你好", "在"]\n{"x": 1}\n["你好", "在"]\n{\n', encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(b"\x1f\x8b broken")
    report = check_corpus([tmp_path / "a.jsonl", tmp_path / "b.txt.gz"], _codec())
    assert report.bad == 2
    assert [line for line, _ in report.files[0].problems] == [2, 4]
    assert report.files[0].figures.dialogues == 2
    assert "damaged gzip" in (report.files[1].error or "")


def test_an_empty_file_has_figures_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n", encoding="utf-8")
    report = check_corpus([tmp_path / "a.txt"], _codec())
    assert (report.total.dialogues, report.total.longest, report.total.percentiles[99]) == (0, 0, 0)


def test_batches_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatgpt2.corpus.report.BATCH_CHARACTERS", 100)
    path = tmp_path / "a.txt"
    path.write_text("你好\n在吗\n\n你好\n在\n\n" * 200, encoding="utf-8")
    figures = check_corpus([path], _codec()).total
    assert (figures.dialogues, figures.duplicates, figures.mean_length) == (400, 398, 6.5)
