"""`chatgpt2 vocabulary`: make a vocabulary from a corpus, and look at one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from chatgpt2.errors import ConfigError, CorpusError


@click.group()
def vocabulary() -> None:
    """Make a vocabulary from your corpus, or look at one."""


@vocabulary.command()
@click.argument("corpus", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--size", default=10_000, show_default=True, help="The most entries it may have.")
@click.option("--min-count", default=2, show_default=True, help="Leave out what occurs less often than this.")
def build(corpus: tuple[Path, ...], output: Path, size: int, min_count: int) -> None:
    """Count the characters and words of CORPUS files or folders and write a vocabulary."""
    from chatgpt2.vocabulary import build_vocabulary, save_vocabulary, vocabulary_hash

    entries = build_vocabulary(_texts(corpus), size, min_count)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save_vocabulary(entries, output)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written ({error.strerror}); give another file") from error
    click.echo(f"{output}: {len(entries)} entries, hash {vocabulary_hash(entries)}")
    click.echo(f"Next: chatgpt2 train-dialog {' '.join(map(str, corpus))} --vocabulary {output}")


def _texts(corpus: Sequence[Path]) -> Iterator[str]:
    from chatgpt2.corpus import corpus_files, read_corpus

    files = corpus_files(corpus, lambda path, why: click.echo(f"passed over {path}: {why}", err=True))
    empty = True
    for file in files:
        for dialogue in read_corpus(file):
            empty = False
            yield from (turn.text for turn in dialogue.turns)
    if empty:
        raise CorpusError(corpus[0], None, "no dialogue found; `chatgpt2 corpus check` shows what was read")


@vocabulary.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(file: Path | None, as_json: bool) -> None:
    """Say what is in a vocabulary FILE (without one: in the shipped vocabulary)."""
    from chatgpt2.vocabulary import default_vocabulary, load_vocabulary

    found = _described(default_vocabulary() if file is None else load_vocabulary(file))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for name, value in found.items():
        click.echo(f"{name:>12}  {value}")


def _described(entries: Sequence[str]) -> dict[str, object]:
    from chatgpt2.codec import Codec
    from chatgpt2.vocabulary import vocabulary_hash

    codec = Codec(entries)
    kinds = Counter(map(_kind, entries))
    written = sorted(codec.text_mapping.items())
    replaced = [f"{old}→{new.strip()}" for old, new in written if new.strip() not in ("", old)]
    return {
        "entries": len(entries),
        "hash": vocabulary_hash(entries),
        "case": "lower-cased" if codec.lowercase else "kept",
        **{kind: kinds[kind] for kind in ("special", "Han", "Latin", "digits", "punctuation", "other")},
        "replaced": " ".join(replaced) or "nothing",
    }


def _kind(entry: str) -> str:
    from chatgpt2.spelling import CJK, MARKS
    from chatgpt2.wordpiece import is_marker

    text = entry.removeprefix("##") or entry
    if is_marker(entry):
        return "special"
    if text.isdigit():
        return "digits"
    if text.isalpha() and CJK.match(text):
        return "Han" if "\u3400" <= text[0] <= "\u9fff" else "other"
    if text.isascii() and text.isalnum():
        return "Latin"
    return "punctuation" if all(char in MARKS or "\u3000" <= char <= "\u303f" for char in text) else "other"
