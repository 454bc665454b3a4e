from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatgpt2.cli.vocabulary import vocabulary as command
from chatgpt2.errors import CheckpointError, ConfigError, CorpusError
from chatgpt2.vocabulary import (
    SPECIAL,
    build_vocabulary,
    default_vocabulary,
    load_vocabulary,
    make_default_vocabulary,
    save_vocabulary,
    vocabulary_hash,
)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_the_shipped_file_is_what_the_script_makes() -> None:
    assert default_vocabulary() == make_default_vocabulary()


def test_the_default_vocabulary_holds_what_chinese_chat_writes() -> None:
    entries = default_vocabulary()
    assert tuple(entries[:5]) == SPECIAL
    assert len(entries) == len(set(entries)) < 10_000
    han = {char for char in entries if len(char) == 1 and "\u4e00" <= char <= "\u9fff"}
    assert len([char for char in han if _in_gb2312(char)]) == 6763
    for wanted in "“”‘’…—·、。《》，！？～azAZ09!?嗯呗哒嘤喵囧怼妳哈😂👍❤":
        assert wanted in entries, wanted
    for char in "azAZ09":
        assert f"##{char}" in entries


def _in_gb2312(char: str) -> bool:
    try:
        return bool(char.encode("gb2312"))
    except UnicodeEncodeError:
        return False


def test_entries_are_split_at_line_feeds_only(tmp_path: Path) -> None:
    entries = [*SPECIAL, "\u2028", "\x85", "\x0b", "好", "##a"]
    for end in ("\n", "\r\n"):
        for last in ("", end):
            path = write(tmp_path / "vocab.txt", end.join(entries) + last)
            assert load_vocabulary(path) == entries
    save_vocabulary(entries, tmp_path / "again.txt")
    assert load_vocabulary(tmp_path / "again.txt") == entries


def test_a_byte_order_mark_is_no_part_of_the_first_entry(tmp_path: Path) -> None:
    path = write(tmp_path / "vocab.txt", "\ufeff" + "\n".join(SPECIAL))
    assert load_vocabulary(path) == list(SPECIAL)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*SPECIAL, "a", "b", "a"], "line 8: 'a' is already on line 6"),
        ([*SPECIAL, "a", "", "b"], "line 7: an empty entry"),
        (["[PAD]", "[UNK]", "a"], r"\[CLS\], \[SEP\], \[MASK\] are missing"),
        ([""], "line 1"),
    ],
)
def test_what_is_wrong_with_a_vocabulary(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path / "vocab.txt", "\n".join(lines) + "\n")
    with pytest.raises(CheckpointError, match=message):
        load_vocabulary(path)


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"[PAD]\n\xff\xfe\n")
    with pytest.raises(CheckpointError, match="line 2: not UTF-8"):
        load_vocabulary(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_vocabulary(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "size"), [("bert_base_chinese_21128.txt", 21128), ("chitchat_13317.txt", 13317)]
)
def test_real_vocabularies(name: str, size: int) -> None:
    if "CHATGPT2_DATA" not in os.environ:
        pytest.skip("CHATGPT2_DATA is not set")
    entries = load_vocabulary(Path(os.environ["CHATGPT2_DATA"]) / "vocab" / name)
    assert len(entries) == size
    assert entries.index("\u2028") == 343


def test_the_hash_names_entries_and_their_order() -> None:
    assert vocabulary_hash(["a", "b"]) == vocabulary_hash(("a", "b"))
    assert len({vocabulary_hash(entries) for entries in (["a", "b"], ["b", "a"], ["a"], ["a\nb"])}) >= 3
    assert len(vocabulary_hash(["a"])) == 16


def test_a_built_vocabulary_holds_what_occurs_often_enough() -> None:
    texts = ["你好 hello", "你好呀 hello", "你 жё жё 42", "好 world👍👍"]
    entries = build_vocabulary(texts, 400)
    assert tuple(entries[:5]) == SPECIAL
    assert {"你", "好", "hello", "ж", "##ж", "жё", "👍", "a", "##a", "Z", "!"} <= set(entries)
    assert not {"呀", "world", "##你", "##👍", " ", "\n"} & set(entries)
    assert entries == build_vocabulary(iter(texts), 400)
    assert "呀" in build_vocabulary(texts, 400, min_count=1)


def test_a_built_vocabulary_keeps_to_its_size() -> None:
    least = build_vocabulary([], 400)
    texts = ["好好好你你", "ab ab cd"]
    assert build_vocabulary(texts, len(least) + 1, 1) == [*least, "好"]
    assert build_vocabulary(texts, len(least) + 3, 1) == [*least, "好", "你", "ab"]
    with pytest.raises(ConfigError, match="too small"):
        build_vocabulary([], len(least) - 1)


def test_counting_words_forgets_the_rare_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatgpt2.vocabulary.WORDS_KEPT", 5)
    monkeypatch.setattr("chatgpt2.vocabulary.CHUNK", 2)
    texts = [f"often w{n} x{n}" for n in range(20)]
    entries = build_vocabulary(texts, 400, 2)
    assert "often" in entries and "w3" not in entries


def test_command_build_and_show(tmp_path: Path) -> None:
    corpus = write(tmp_path / "chat.txt", "你好\n你好呀\n\n在吗 hello\n在的 hello\n")
    out = tmp_path / "new" / "vocab.txt"
    done = CliRunner().invoke(command, ["build", str(corpus), "-o", str(out), "--size", "500"])
    assert done.exit_code == 0, done.output
    assert "hello" in load_vocabulary(out) and "呀" not in load_vocabulary(out)
    assert f"{len(load_vocabulary(out))} entries" in done.output
    shown = CliRunner().invoke(command, ["show", str(out), "--json"])
    assert json.loads(shown.output)["Han"] == 3
    assert "lower-cased" not in CliRunner().invoke(command, ["show", str(out)]).output


def test_command_show_without_a_file_shows_the_shipped_one() -> None:
    shown = json.loads(CliRunner().invoke(command, ["show", "--json"]).output)
    assert shown["entries"] == len(default_vocabulary())
    assert shown["hash"] == vocabulary_hash(default_vocabulary())


def test_command_errors(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.txt", "\n\n")
    done = CliRunner().invoke(command, ["build", str(empty), "-o", str(tmp_path / "v.txt")])
    assert isinstance(done.exception, CorpusError)
    corpus = write(tmp_path / "chat.txt", "你好\n你好呀\n")
    blocked = CliRunner().invoke(command, ["build", str(corpus), "-o", str(corpus / "v.txt")])
    assert isinstance(blocked.exception, ConfigError)
