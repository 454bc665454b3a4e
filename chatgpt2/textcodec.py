"""Text ↔ ids with any tokenizer that transformers loads: what a `Codec` does, for models that know no dialogues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers.decoders import DecodeStream

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.quiet import quiet_transformers
from chatgpt2.vocabulary import NO_LIMIT
from chatgpt2.wordpiece import Int32, Int64, offsets_of


class TextCodec:
    """Writes text as ids and reads ids as text.

    tokenizer  a fast tokenizer of transformers
    window     the most tokens of a text
    """

    def __init__(self, tokenizer: Any, window: int) -> None:
        self.tokenizer = tokenizer
        self.window = window
        eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.stop_ids: tuple[int, ...] = () if eos is None else (eos,)
        self.pad_id: int = next((each for each in (pad, eos) if each is not None), 0)

    @classmethod
    def load(cls, directory: Path | str) -> TextCodec:
        """The codec of a directory that AutoTokenizer reads. Raises CheckpointError."""
        from transformers import AutoConfig, AutoTokenizer  # take seconds

        try:
            with quiet_transformers():
                tokenizer: Any = AutoTokenizer.from_pretrained(directory)
                config = AutoConfig.from_pretrained(directory)
        except Exception as error:  # whatever a damaged file makes of its library
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise CheckpointError(f"{directory}: its tokenizer cannot be loaded ({why})") from error
        if not getattr(tokenizer, "is_fast", False):
            raise CheckpointError(
                f"{directory}: its tokenizer has no tokenizer.json; save it again with transformers"
            )
        limit = tokenizer.model_max_length
        positions = getattr(config, "n_positions", None) or NO_LIMIT
        return cls(tokenizer, int(min(limit if limit < NO_LIMIT else positions, positions)))

    def save(self, directory: Path | str) -> None:
        """Write a directory that `load` and AutoTokenizer read."""
        self.tokenizer.save_pretrained(str(directory))

    @property
    def kind(self) -> str:
        """Of tokenizer: bpe, unigram …"""
        return type(self.tokenizer.backend_tokenizer.model).__name__.lower()

    @cached_property
    def vocabulary(self) -> list[str]:
        """What each id stands for, as the tokenizer writes it."""
        by_id = {number: entry for entry, number in self.tokenizer.get_vocab().items()}
        return [by_id.get(number, f"[no entry {number}]") for number in range(max(by_id, default=-1) + 1)]

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Tokens that no text may hold: those that are not text, except the one that ends it."""
        return tuple(sorted(set(self.tokenizer.all_special_ids) - set(self.stop_ids)))

    def encode_texts(self, texts: Sequence[str]) -> tuple[Int32, Int64]:
        """ids [tokens] of all texts, and offsets [texts + 1] of each in them. No special tokens."""
        rows = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        offsets = offsets_of(np.fromiter(map(len, rows), np.int64, len(rows)))
        return np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])), offsets

    def begin(self, text: str) -> list[int]:
        """The ids of a text to go on with, as transformers' pipeline makes them; of an empty one, its beginning."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        start = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return list(ids) or [each for each in start if each is not None][:1]

    def prompt(self, dialogue: Dialogue, room: int, opening: Sequence[Turn] = ()) -> list[int]:
        """Raises ConfigError: nobody speaks in these texts."""
        raise ConfigError("this model goes on with texts and knows no dialogues: take `chatgpt2 generate`")

    def decode(self, ids: Iterable[int]) -> str:
        decoder = self.decoder()
        return decoder.push(ids) + decoder.finish()

    def decoder(self) -> TextDecoder:
        """`decode` for those who have the ids a few at a time."""
        return TextDecoder(self.tokenizer.backend_tokenizer)


class TextDecoder:
    """Ids of one text in, whole characters out: of a character of several tokens nothing comes before its last."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def push(self, ids: Iterable[int]) -> str:
        return "".join(self._stream.step(self._tokenizer, token) or "" for token in ids)

    def finish(self) -> str:
        """Nothing: what is left is no whole character."""
        return ""
