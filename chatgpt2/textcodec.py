"""Text ↔ token ids with any tokenizer: the codec's face for models that learn texts, not dialogues.

The ids are those of the tokenizer that a checkpoint holds, so every tool that loads it with
`transformers.AutoTokenizer` sees the same. A special token spelled out in a text is that token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from chatgpt2.codec import SMALLEST_WINDOW
from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.errors import ConfigError
from chatgpt2.examples import Examples
from chatgpt2.spelling import Decoder, Piece, piece_of
from chatgpt2.tokenizer import open_tokenizer
from chatgpt2.vocabulary import NO_LIMIT
from chatgpt2.wordpiece import Int32, Int64, is_marker, offsets_of, unwritten


class TextDecoder:
    """Ids in, whole characters out: bytes of a character are held back until it is complete."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = decoders.DecodeStream(skip_special_tokens=True)

    def push(self, ids: Iterable[int]) -> str:
        return "".join([self._stream.step(self._tokenizer, token) or "" for token in ids])

    def finish(self) -> str:
        """Nothing: what is still held back is no character."""
        return ""


class TextCodec:
    """Writes texts as ids and reads ids as text.

    tokenizer  a fast tokenizer of transformers
    window     the most tokens of an example, or of a prompt with what is written after it
    wrapped    whether a text stands between bos and eos; then a prompt begins with bos
    """

    def __init__(self, tokenizer: Any, window: int, *, wrapped: bool = False) -> None:
        if window < SMALLEST_WINDOW:
            raise ConfigError(f"a window of {window} tokens is too small: the least is {SMALLEST_WINDOW}")
        self.tokenizer, self.window, self.wrapped = tokenizer, window, wrapped
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.no_truncation()
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        unknown = (
            tokenizer.unk_token_id
        )  # the English GPT-2 calls its end of text so too, and knows every byte
        self.unk_id = -1 if unknown in (None, self.bos_id, self.eos_id) else int(unknown)
        self.stop_ids: tuple[int, ...] = () if self.eos_id is None else (self.eos_id,)
        self.pad_id: int = next((i for i in (tokenizer.pad_token_id, self.eos_id) if i is not None), 0)
        self.kind = _kind(self._backend)

    @cached_property
    def vocabulary(self) -> list[str]:
        """What each id stands for, as the tokenizer writes it."""
        by_id = {number: entry for entry, number in self.tokenizer.get_vocab().items()}
        return [by_id.get(number, f"[no entry {number}]") for number in range(max(by_id, default=-1) + 1)]

    def shaped(self) -> TextCodec:
        """The same, whose tokenizer begins a prompt as the texts that are learned begin, and knows the window."""
        self.tokenizer.model_max_length = self.window
        self._backend.post_processor = self._prompt_shape() if self.wrapped else None
        return self

    def whole(self) -> TextCodec:
        """The same, whose tokenizer writes a text with its end, as one that judges texts reads it.

        What a model makes of a text stands at its last token that is not padding, so a tokenizer that pads with
        eos writes none.
        """
        self.tokenizer.model_max_length = self.window
        ends = [(self.vocabulary[i], i) for i in (self.bos_id, self.eos_id) if i is not None]
        tail = f" {ends[-1][0]}" if self.eos_id not in (None, self.pad_id) else ""
        head = f"{ends[0][0]} " if self.bos_id is not None else ""
        self._backend.post_processor = processors.TemplateProcessing(
            single=f"{head}$A{tail}", special_tokens=sorted(set(ends))
        )
        return self

    def encode_whole(self, texts: Sequence[str]) -> Examples:
        """Each text as one example, with what the tokenizer writes around it; what is beyond the window is left
        out, as transformers truncates."""
        around = self._backend.encode("").ids
        head = [each for each in around[:1] if each == self.bos_id]
        tail = around[len(head) :]
        room = self.window - len(around)
        ids, offsets = self.encode_texts(texts)
        bounds = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
        rows = [[*head, *ids[begin : min(end, begin + room)].tolist(), *tail] for begin, end in bounds]
        flat = np.fromiter(chain.from_iterable(rows), np.int32)
        cut = sum(end - begin > room for begin, end in bounds)
        characters = np.fromiter(map(len, texts), np.int32, len(texts))
        ends = offsets_of(np.fromiter(map(len, rows), np.int64, len(rows)))
        return Examples(flat, np.ones(len(flat), np.bool_), ends, np.arange(len(texts)), characters, 0, cut)

    def _prompt_shape(self) -> Any:
        assert self.bos_id is not None
        bos = self.vocabulary[self.bos_id]
        return processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, self.bos_id)])

    @cached_property
    def banned_ids(self) -> tuple[int, ...]:
        """Tokens that no text may hold: the special ones, except eos, which ends it."""
        special = {int(i) for i in self.tokenizer.all_special_ids}
        if self.kind == "bert":
            special |= {i for i, entry in enumerate(self.vocabulary) if is_marker(entry)}
        return tuple(sorted(special - set(self.stop_ids)))

    @cached_property
    def unwritten_ids(self) -> tuple[int, ...]:
        """Tokens that no text gives: see `wordpiece.unwritten`. None are known of tokenizers other than BERT's."""
        normalizer, splitter = self._backend.normalizer, self._backend.pre_tokenizer
        if not isinstance(normalizer, normalizers.BertNormalizer) or not isinstance(
            splitter, pre_tokenizers.BertPreTokenizer
        ):
            return ()
        found = unwritten(
            self.vocabulary,
            normalizer.normalize_str,
            lambda text: [w for w, _ in splitter.pre_tokenize_str(text)],
        )
        added = self.tokenizer.get_added_vocab().values()
        return tuple(i for i in found if i not in added)

    @cached_property
    def fingerprint(self) -> str:
        """Codecs with the same fingerprint give the same ids for the same text."""
        parts = [self._backend.to_str(), self.window, self.bos_id, self.eos_id]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @classmethod
    def load(cls, directory: Path | str) -> TextCodec:
        """The codec of a tokenizer directory in Hugging Face format, of whatever kind.

        Raises CheckpointError when there is none in it that can be used.
        """
        directory = Path(directory)
        tokenizer = open_tokenizer(directory)
        begun = tokenizer.backend_tokenizer.encode("").ids[:1]
        return cls(tokenizer, _window(directory, tokenizer), wrapped=begun == [tokenizer.bos_token_id])

    def save(self, directory: Path | str) -> None:
        """Write a directory that `load` and `transformers.AutoTokenizer` read."""
        self.tokenizer.save_pretrained(str(directory))

    def encode_texts(self, texts: Sequence[str]) -> tuple[Int32, Int64]:
        """ids [tokens] of all texts, and offsets [texts + 1] of each in them; bos and eos are not added."""
        encoded = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        rows = [each.ids for each in encoded]
        offsets = offsets_of(np.fromiter(map(len, rows), np.int64, len(rows)))
        return np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])), offsets

    def encode_lines(self, texts: Sequence[str], *, wrap: bool) -> Examples:
        """Each text as an example between bos and eos (`wrap`), or as it is.

        A wrapped one longer than the window becomes several: each begins with the last token of the one
        before, which is not learned again.
        """
        ids, offsets = self.encode_texts(texts)
        characters = np.fromiter(map(len, texts), np.int32, len(texts))
        if not wrap:
            number = np.arange(len(texts))
            return Examples(ids, np.ones(len(ids), np.bool_), offsets, number, characters, 0, 0)
        return self._wrapped(ids, offsets, characters)

    def _wrapped(self, ids: Int32, offsets: Int64, characters: Int32) -> Examples:
        assert self.bos_id is not None and self.eos_id is not None
        pieces: list[list[int]] = []
        source: list[int] = []
        shares: list[int] = []
        split = 0
        for n, (begin, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            whole = [self.bos_id, *ids[begin:end].tolist(), self.eos_id]
            starts = range(0, max(1, len(whole) - 1), self.window - 1)
            parts = [whole[start : start + self.window] for start in starts]
            pieces += parts
            source += [n] * len(parts)
            shares += _shares(int(characters[n]), [len(part) - 1 for part in parts])
            split += len(parts) > 1
        bounds = offsets_of(np.fromiter(map(len, pieces), np.int64, len(pieces)))
        flat = np.fromiter(chain.from_iterable(pieces), np.int32, int(bounds[-1]))
        learn = np.ones(len(flat), np.bool_)
        learn[bounds[:-1]] = False  # bos, or what the piece before has learned
        return Examples(flat, learn, bounds, np.array(source), np.array(shares, np.int32), split, 0)

    def begin(self, text: str) -> list[int]:
        """The ids of a text to go on with, as transformers' pipeline makes them; never none, because something must
        stand before the first token."""
        ids = [int(token) for token in self.encode_texts([text])[0]]
        start = [each for each in (self.bos_id, self.eos_id) if each is not None][:1]
        return [*start, *ids] if self.wrapped or not ids else ids

    def prompt(self, dialogue: Dialogue, room: int, opening: Sequence[Turn] = ()) -> list[int]:
        """Raises ConfigError: nobody speaks in these texts."""
        raise ConfigError("this model goes on with texts and knows no dialogues: take `chatgpt2 generate`")

    def text(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of `ids` as they come, in whole characters; special tokens are passed over."""
        decoder = self.decoder()
        yield from filter(None, (decoder.push((token,)) for token in ids))
        yield from filter(None, (decoder.finish(),))

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.text(ids))

    def decoder(self) -> Decoder | TextDecoder:
        """`text` for those who have the ids a few at a time."""
        return Decoder(self._pieces) if self.kind == "bert" else TextDecoder(self._backend)

    @cached_property
    def _pieces(self) -> list[Piece | None]:
        special = set(self.tokenizer.all_special_ids)
        plain = (
            not is_marker(e) and not e.isspace() and i not in special for i, e in enumerate(self.vocabulary)
        )
        return [piece_of(e) if good else None for good, e in zip(plain, self.vocabulary, strict=True)]


def _shares(characters: int, lengths: Sequence[int]) -> list[int]:
    """`characters` dealt out in proportion to `lengths`; they add up to it."""
    bounds = np.rint(np.cumsum([0, *lengths]) * (characters / max(1, sum(lengths)))).astype(int)
    return [int(share) for share in np.diff(bounds)]


def _kind(backend: Tokenizer) -> str:
    """Of tokenizer: bert, char, bpe, unigram …"""
    model = backend.model
    if isinstance(model, models.WordPiece):
        return "bert"
    if isinstance(model, models.BPE) and backend.pre_tokenizer is None and model.byte_fallback:
        return "char"
    return type(model).__name__.lower()


def _window(directory: Path, tokenizer: Any) -> int:
    try:
        model = json.loads((directory / "config.json").read_bytes())
    except (OSError, ValueError):
        model = {}
    limits = (tokenizer.model_max_length, model.get("n_positions") or model.get("n_ctx"))
    return min((int(limit) for limit in limits if limit and limit < NO_LIMIT), default=512)
