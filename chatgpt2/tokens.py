"""A corpus as a token file: dialogues or texts, tokenised once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from chatgpt2.codec import Codec, Learn
from chatgpt2.corpus import Tally, corpus_files, read_corpus
from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import ConfigError, CorpusError
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokenfile import FORMAT, Writer, draft_of
from chatgpt2.tokenfile import Array as Array
from chatgpt2.tokenfile import Counts as Counts
from chatgpt2.tokenfile import TokenFile as TokenFile
from chatgpt2.tokenfile import open_tokens as open_tokens

# A chunk is tokenised at once, at some 60 bytes of memory a character.
CHUNK_DIALOGUES = 20_000
CHUNK_CHARACTERS = 1_000_000

OnBad = Callable[[CorpusError], None]
OnSkip = Callable[[Path, str], None]


def tokenise(
    paths: Sequence[Path | str],
    codec: Codec,
    *,
    learn: Learn = "all",
    cache: Path,
    on_bad: OnBad | None = None,
    on_skip: OnSkip | None = None,
    format: str | None = None,
    keep_system: bool = False,
    progress: Callable[[int], None] | None = None,
) -> TokenFile:
    """The token file of the dialogues in `paths`, from `cache` if it holds it.

    `on_bad` is handed each bad record (without it the first one raises) unless the file comes from the
    cache; `counts.bad` always says how many there were. `on_skip` hears of files in folders that were passed
    over, `progress` of the number of dialogues read so far.
    """
    files = corpus_files(paths, on_skip, format)
    options = [FORMAT, codec.fingerprint, learn, format, keep_system, on_bad is not None]
    fingerprint = fingerprint_of(files, options)
    folder = Path(cache) / f"tokens-{fingerprint}"
    found = open_tokens(folder)
    if found is None:
        with draft_of(folder) as draft, Writer(draft, len(codec.vocabulary)) as writer:
            tally = Tally()
            for file in files:
                dialogues = read_corpus(file, on_bad, format=format, keep_system=keep_system, tally=tally)
                for chunk in _chunks(dialogues):
                    _add(writer, codec, chunk, learn)
                    if progress:
                        progress(writer.counts.dialogues)
            _require_content(paths, writer.counts)
            writer.finish(fingerprint, tally.bad)
    return found or _reopened(folder)


def fingerprint_of(files: Sequence[Path], options: Sequence[object]) -> str:
    """Names the content of `files`, in order, and the options. A suffix may decide a file's format."""
    digest = hashlib.blake2b(json.dumps(options).encode(), digest_size=12)
    for path in files:
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").digest()
        except OSError as error:
            raise CorpusError(path, None, f"cannot be read ({error.strerror}); check its rights") from error
        digest.update(content + "".join(path.suffixes).encode() + b"\n")
    return digest.hexdigest()


def _chunks(dialogues: Iterable[Dialogue]) -> Iterator[list[Dialogue]]:
    chunk: list[Dialogue] = []
    characters = 0
    for dialogue in dialogues:
        chunk.append(dialogue)
        for turn in dialogue.turns:
            characters += len(turn.text)
        if len(chunk) == CHUNK_DIALOGUES or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _add(writer: Writer, codec: Codec, chunk: Sequence[Dialogue], learn: Learn) -> None:
    examples = codec.encode_all(chunk, learn)
    hashes = np.fromiter(map(_hash, chunk), np.uint64, len(chunk))
    unknown = int((examples.ids == codec.unk_id).sum())
    writer.add(examples, hashes, Counts(dialogues=len(chunk), turns=sum(map(len, chunk)), unknown=unknown))


def _reopened(folder: Path) -> TokenFile:
    found = open_tokens(folder)
    if found is None:
        raise ConfigError(f"{folder}: damaged just after it was written; is the disk sound?")
    return found


def _require_content(paths: Sequence[Path | str], counts: Counts) -> None:
    where = ", ".join(map(str, paths))
    if not counts.dialogues:
        raise CorpusError(where, None, "no dialogue found; `chatgpt2 corpus check` shows what was read")
    if not counts.tokens:
        raise CorpusError(where, None, "nothing to learn: the bot says nothing here; use --learn all")


def _hash(dialogue: Dialogue) -> int:
    """The same for the same turns, in every process."""
    return text_hash("\0".join([turn.role + turn.text for turn in dialogue.turns]))


def text_hash(text: str) -> int:
    """64 bits that are the same for the same text, in every process."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def tokenise_texts(
    texts: Callable[[], Iterable[str]],
    codec: TextCodec,
    *,
    cache: Path,
    fingerprint: str,
    wrap: bool = False,
    whole: bool = False,
) -> TokenFile:
    """The token file of `texts`, from `cache` if it holds the one called `fingerprint`.

    wrap   each text becomes examples of its own, between bos and eos; else the ids just follow one another
    whole  each text becomes one example, as one that judges texts reads it
    """
    folder = Path(cache) / f"tokens-{fingerprint}"
    found = open_tokens(folder)
    if found is None:
        with draft_of(folder) as draft, Writer(draft, len(codec.vocabulary)) as writer:
            for chunk in _text_chunks(texts()):
                examples = codec.encode_whole(chunk) if whole else codec.encode_lines(chunk, wrap=wrap)
                hashes = np.fromiter(map(text_hash, chunk), np.uint64, len(chunk))
                unknown = int((examples.ids == codec.unk_id).sum())
                writer.add(examples, hashes, Counts(dialogues=len(chunk), turns=len(chunk), unknown=unknown))
            writer.finish(fingerprint)
    return found or _reopened(folder)


def _text_chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == CHUNK_DIALOGUES or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
