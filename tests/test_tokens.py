from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chatgpt2 import tokens
from chatgpt2.codec import Codec
from chatgpt2.corpus import read_corpus
from chatgpt2.errors import ConfigError, CorpusError
from chatgpt2.tokens import TokenFile, open_tokens, tokenise
from chatgpt2.vocabulary import default_vocabulary

CODEC = Codec(default_vocabulary(), window=16)
TEXT = "你好\n在的 hello\n\n今天天气真好啊\n是啊是啊\n出去走走\n走啊走啊\n\n你好\n在的 hello\n\n囍龘\n哈哈\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "chat.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def same(a: TokenFile, b: TokenFile) -> bool:
    arrays = ("ids", "learn", "offsets", "dialogue", "characters")
    return a.counts == b.counts and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays)


@pytest.mark.parametrize("learn", ["all", "bot"])
def test_the_file_holds_what_the_codec_gives(corpus: Path, cache: Path, learn: tokens.Learn) -> None:
    file = tokenise([corpus], CODEC, learn=learn, cache=cache)
    wanted = [example for dialogue in read_corpus(corpus) for example in CODEC.encode(dialogue, learn)]
    assert [file.example(i) for i in range(len(file))] == wanted
    assert file.lengths.tolist() == [len(example.ids) for example in wanted]
    assert file.ids.dtype == np.uint16


def test_counts_characters_and_dialogue_hashes(corpus: Path, cache: Path) -> None:
    file = tokenise([corpus], CODEC, cache=cache)
    counts = file.counts
    assert (counts.dialogues, counts.turns, counts.split, counts.cut, counts.unknown) == (4, 10, 1, 0, 1)
    assert counts.tokens == len(file.ids) == file.offsets[-1]
    first, a, b, again, other = file.dialogue.tolist()
    assert first == again and a == b and len({first, a, other}) == 3
    assert file.characters.tolist() == [10, 11, 8, 10, 4]
    bot = tokenise([corpus], CODEC, learn="bot", cache=cache)
    assert bot.characters.tolist() == [8, 4, 4, 8, 2]


def test_hashes_are_the_same_in_every_process(corpus: Path, cache: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from chatgpt2.codec import Codec\n"
        "from chatgpt2.tokens import tokenise; from chatgpt2.vocabulary import default_vocabulary\n"
        "codec = Codec(default_vocabulary(), 16)\n"
        "print(tokenise([sys.argv[1]], codec, cache=Path(sys.argv[2])).dialogue.tolist())"
    )
    command = [sys.executable, "-c", code, str(corpus), str(tmp_path / "other")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == tokenise([corpus], CODEC, cache=cache).dialogue.tolist()


def test_a_large_vocabulary_takes_four_bytes(corpus: Path, cache: Path) -> None:
    entries = [*default_vocabulary(), *(f"extra{n}" for n in range(0x10000))]
    file = tokenise([corpus], Codec(entries, 16), cache=cache)
    assert file.ids.dtype == np.uint32
    assert np.array_equal(file.ids, tokenise([corpus], CODEC, cache=cache).ids)


def test_the_same_input_is_read_once(corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tokenise([corpus], CODEC, cache=cache)
    monkeypatch.setattr(tokens, "read_corpus", None)
    again = tokenise([corpus], CODEC, cache=cache)
    assert same(first, again) and first.fingerprint == again.fingerprint


def test_anything_that_matters_makes_another_file(corpus: Path, cache: Path, tmp_path: Path) -> None:
    names = [
        tokenise([corpus], CODEC, cache=cache).fingerprint,
        tokenise([corpus], CODEC, learn="bot", cache=cache).fingerprint,
        tokenise([corpus], Codec(CODEC.vocabulary, 17), cache=cache).fingerprint,
        tokenise([corpus], CODEC, cache=cache, on_bad=lambda error: None).fingerprint,
        tokenise([corpus], CODEC, cache=cache, format="text").fingerprint,
    ]
    corpus.write_text(TEXT + "\n新的\n来了\n", encoding="utf-8")
    names.append(tokenise([corpus], CODEC, cache=cache).fingerprint)
    assert len(set(names)) == len(names) == len(list(cache.iterdir()))


@pytest.mark.parametrize("name", ["ids", "learn", "offsets", "dialogue", "characters", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_cache_is_made_again(corpus: Path, cache: Path, name: str, damage: str) -> None:
    first = tokenise([corpus], CODEC, cache=cache)
    folder = cache / f"tokens-{first.fingerprint}"
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "flip":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    assert open_tokens(folder) is None
    assert same(tokenise([corpus], CODEC, cache=cache), first)
    assert [p.name for p in cache.iterdir()] == [folder.name]


def test_an_interrupted_run_leaves_nothing(corpus: Path, cache: Path) -> None:
    def stop(dialogues: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenise([corpus], CODEC, cache=cache, progress=stop)
    assert list(cache.iterdir()) == []


def test_the_draft_of_a_killed_process_is_removed(corpus: Path, cache: Path) -> None:
    name = tokenise([corpus], CODEC, cache=cache).fingerprint
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (cache / f"tokens-{name}" / "meta.json").unlink()
    for pid in (dead.pid, os.getpid()):
        (cache / f".tokens-{name}-{pid}-abc").mkdir()
    tokenise([corpus], CODEC, cache=cache)
    assert sorted(p.name for p in cache.iterdir()) == [f".tokens-{name}-{os.getpid()}-abc", f"tokens-{name}"]


def test_two_processes_at_once(corpus: Path, cache: Path) -> None:
    """The other one settles while this one writes: the first stays, and nothing is left over."""
    inner: list[TokenFile] = []

    def other(dialogues: int) -> None:
        if not inner:
            inner.append(tokenise([corpus], CODEC, cache=cache))

    outer = tokenise([corpus], CODEC, cache=cache, progress=other)
    assert same(inner[0], outer)
    assert len(list(cache.iterdir())) == 1


def test_chunks_do_not_show(
    corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tokenise([corpus], CODEC, cache=cache)
    seen: list[int] = []
    monkeypatch.setattr(tokens, "CHUNK_DIALOGUES", 1)
    assert same(tokenise([corpus], CODEC, cache=tmp_path / "a", progress=seen.append), whole)
    assert seen == [1, 2, 3, 4]
    monkeypatch.setattr(tokens, "CHUNK_DIALOGUES", 1000)
    monkeypatch.setattr(tokens, "CHUNK_CHARACTERS", 15)
    assert same(tokenise([corpus], CODEC, cache=tmp_path / "b"), whole)


def test_folders_and_packed_files(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("你好\n在的\n", encoding="utf-8")
    (folder / "b.txt.gz").write_bytes(gzip.compress("吃了吗\n吃了\n".encode()))
    (folder / "README.md").write_text("# About", encoding="utf-8")
    skipped: list[str] = []
    file = tokenise([folder], CODEC, cache=cache, on_skip=lambda path, why: skipped.append(path.name))
    assert [CODEC.decode(file.example(i).ids) for i in range(len(file))] == ["你好在的", "吃了吗吃了"]
    assert skipped == ["README.md"]


def test_bad_records(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "chat.jsonl"
    good = json.dumps(["你好", "在的"], ensure_ascii=False)
    path.write_text(f"{good}\n{good}\n{{broken\n{good}\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="line 3"):
        tokenise([path], CODEC, cache=cache)
    heard: list[CorpusError] = []
    for _ in range(2):
        file = tokenise([path], CODEC, cache=cache, on_bad=heard.append)
        assert (len(file), file.counts.bad, len(heard)) == (3, 1, 1)


def test_nothing_to_tokenise(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("\n\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="no dialogue"):
        tokenise([path], CODEC, cache=cache)
    path.write_text("你好\n\n在吗\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="the bot says nothing"):
        tokenise([path], CODEC, learn="bot", cache=cache)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written(corpus: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        tokenise([corpus], CODEC, cache=corpus / "below")
