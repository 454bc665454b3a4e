"""Dialogue ↔ token ids: the only home of the special tokens and of the prompt's shape.

    [CLS] what the user said [SEP] what the bot said [SEP] what the user said [SEP] …

A prompt is the same up to the user's last [SEP]; what the model writes next are the bot's words and [SEP].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.examples import Example, Examples
from chatgpt2.spelling import Decoder, Piece, piece_of
from chatgpt2.vocabulary import check_vocabulary, read_tokenizer, save_vocabulary, vocabulary_hash
from chatgpt2.wordpiece import Bool, Int32, Int64, WordPiece, has_capitals, is_marker, offsets_of

Learn = Literal["all", "bot"]

FORMAT = 1  # raise it when the same dialogue comes to give other ids
SMALLEST_WINDOW = 8
REFILL = 0.6  # how full of history a prompt is right after old turns were dropped


# A slot is one turn's place in an example: `length` of the turn's tokens from `begin` on, then [SEP].
SLOT = np.dtype(
    [
        ("dialogue", np.int64),
        ("first", np.bool_),  # of its example, so [CLS] stands before it
        ("turn", np.int64),
        ("begin", np.int64),
        ("length", np.int64),
        ("learn", np.bool_),
        ("learn_sep", np.bool_),
    ]
)
Slots = np.ndarray  # structured, dtype SLOT
SlotRow = tuple[bool, int, int, int, bool, bool]  # a slot without its dialogue


class Codec:
    """Writes dialogues as ids and reads ids as text, with one vocabulary and one window.

    window     the most tokens of an example, or of a prompt with its reply
    lowercase  None: when the vocabulary has no upper-case Latin letter
    """

    def __init__(self, vocabulary: Sequence[str], window: int = 512, lowercase: bool | None = None) -> None:
        if window < SMALLEST_WINDOW:
            raise ConfigError(f"a window of {window} tokens is too small: the least is {SMALLEST_WINDOW}")
        check_vocabulary(vocabulary)
        self.vocabulary = list(vocabulary)
        self.window = window
        self.lowercase = not has_capitals(vocabulary) if lowercase is None else lowercase
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = map(
            self.vocabulary.index, ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
        )
        self.bos_id, self.eos_id, self.stop_ids = self.cls_id, self.sep_id, (self.sep_id,)
        self._wordpiece = WordPiece(self.vocabulary, self.lowercase)

    def __reduce__(self) -> tuple[type[Codec], tuple[list[str], int, bool]]:
        return Codec, (self.vocabulary, self.window, self.lowercase)

    @cached_property
    def banned_ids(self) -> tuple[int, ...]:
        """Tokens that no reply may hold: those that are not text, except [SEP], which ends it."""
        markers = (i for i, entry in enumerate(self.vocabulary) if is_marker(entry))
        return tuple(i for i in markers if i != self.sep_id)

    @cached_property
    def unwritten_ids(self) -> tuple[int, ...]:
        """Tokens that no text gives: no model has learned them, and neither prompts nor replies hold them."""
        return self._wordpiece.unwritten(self.vocabulary)

    @cached_property
    def fingerprint(self) -> str:
        """Codecs with the same fingerprint give the same ids for the same dialogue."""
        mapping = sorted(self.text_mapping.items())
        parts = [FORMAT, vocabulary_hash(self.vocabulary), self.lowercase, self.window, mapping]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def text_mapping(self) -> dict[str, str]:
        """What is written instead of characters that the vocabulary does not have."""
        return {chr(point): text for point, text in self._wordpiece.mapping.items()}

    @classmethod
    def load(cls, directory: Path | str) -> Codec:
        """The codec of a tokenizer directory in Hugging Face format, ours or another's."""
        found = read_tokenizer(Path(directory))
        return cls(found.entries, found.window or 512, found.lowercase)

    def save(self, directory: Path | str) -> None:
        """Write a directory that `load` and `transformers.AutoTokenizer` read."""
        from transformers import BertTokenizer  # takes seconds, and only saving needs it

        tokenizer = BertTokenizer(
            vocab={entry: i for i, entry in enumerate(self.vocabulary)},  # transformers 5 ignores vocab_file=
            do_lower_case=self.lowercase,
            bos_token="[CLS]",
            eos_token="[SEP]",
            model_max_length=self.window,
        )
        if len(tokenizer) != len(self.vocabulary):
            raise CheckpointError(f"{directory}: transformers made {len(tokenizer)} tokens of the vocabulary")
        tokenizer.save_pretrained(str(directory))
        save_vocabulary(self.vocabulary, Path(directory) / "vocab.txt")

    # Dialogue → ids

    def encode_texts(self, texts: Sequence[str]) -> tuple[Int32, Int64]:
        """ids [tokens] of all texts, and offsets [texts + 1] of each in them. No special tokens."""
        return self._wordpiece.encode(texts)

    def encode(self, dialogue: Dialogue, learn: Learn = "all") -> list[Example]:
        """The examples that `dialogue` gives; none if nothing in it is to be learned.

        One longer than the window is split between turns, and each further example begins with the turn
        before it (its end, if there is no room for all of it) as context that is not learned again. A turn
        longer than the window alone loses its end, and the [SEP] after it is not learned.
        """
        examples = self.encode_all([dialogue], learn)
        return [examples[i] for i in range(len(examples))]

    def encode_all(self, dialogues: Sequence[Dialogue], learn: Learn = "all") -> Examples:
        """`encode` for many dialogues at once."""
        if learn not in ("all", "bot"):
            raise ConfigError(f"learn is {learn!r}: it must be all or bot")
        turns = [turn for dialogue in dialogues for turn in dialogue.turns]
        ids, offsets = self.encode_texts([turn.text for turn in turns])
        sizes = np.diff(offsets)  # [turns]
        slots, split, cut = self._slots(sizes, [len(dialogue) for dialogue in dialogues])
        if learn == "bot":
            spoken = np.fromiter((turn.role == "bot" for turn in turns), np.bool_, len(turns))
            slots["learn"] &= spoken[slots["turn"]]
            slots["learn_sep"] &= spoken[slots["turn"]]
        slots = _with_targets(slots)
        lengths = np.fromiter((len(turn.text) for turn in turns), np.int64, len(turns))
        characters = _characters(slots, lengths, sizes)
        written, learned, starts = self._write(slots, ids, offsets)
        return Examples(written, learned, starts, slots["dialogue"][slots["first"]], characters, split, cut)

    def _slots(self, sizes: Int64, turns: Sequence[int]) -> tuple[Slots, int, int]:
        """Where every turn goes, how many dialogues were split, how many turns cut."""
        bounds = offsets_of(np.asarray(turns, np.int64))  # [dialogues + 1] in turns
        slots = np.zeros(len(sizes), SLOT)
        slots["dialogue"] = np.repeat(np.arange(len(turns)), turns)
        slots["first"][bounds[:-1][np.diff(bounds) > 0]] = True
        slots["turn"] = np.arange(len(sizes))
        slots["length"] = sizes
        slots["learn"] = slots["learn_sep"] = True
        totals = np.diff(offsets_of(sizes + 1)[bounds]) + 1  # [dialogues] in tokens
        long = np.flatnonzero(totals > self.window)
        if not len(long):
            return slots, 0, 0
        rows = []
        for dialogue in long.tolist():
            first, end = bounds[dialogue : dialogue + 2].tolist()
            rows += [(dialogue, *row) for row in _split(sizes[first:end].tolist(), first, self.window)]
        parts = np.array(rows, SLOT)
        examples = np.bincount(parts["dialogue"][parts["first"]])
        slots = np.concatenate([slots[~np.isin(slots["dialogue"], long)], parts])
        slots = slots[np.argsort(slots["dialogue"], kind="stable")]
        return slots, int((examples > 1).sum()), int((parts["learn"] & ~parts["learn_sep"]).sum())

    def _write(self, slots: Slots, ids: Int32, offsets: Int64) -> tuple[Int32, Bool, Int64]:
        """ids [tokens], learn [tokens] and the examples' starts [examples + 1]."""
        lengths, first = slots["length"], slots["first"]
        places = offsets_of(lengths + 1)[:-1] + np.cumsum(first)  # [slots] of each one's first token
        total = int(lengths.sum()) + len(slots) + int(first.sum())
        written = np.full(total, self.sep_id, np.int32)
        learned = np.zeros(total, np.bool_)
        written[places[first] - 1] = self.cls_id
        within = np.arange(lengths.sum()) - np.repeat(offsets_of(lengths)[:-1], lengths)
        targets = np.repeat(places, lengths) + within
        written[targets] = ids[np.repeat(offsets[slots["turn"]] + slots["begin"], lengths) + within]
        learned[targets] = np.repeat(slots["learn"], lengths)
        learned[places + lengths] = slots["learn_sep"]
        return written, learned, np.append(places[first] - 1, total)

    def prompt(self, dialogue: Dialogue, room: int, opening: Sequence[Turn] = ()) -> list[int]:
        """At most `room` tokens that end after the user's last turn, ready for the bot's.

        `opening` (a persona) always stays. When the rest outgrows the room, whole turns go, oldest first and
        down to a user's turn, until 60 % of it is used: the prompts after that begin alike, so an engine can
        keep what it computed. Which ones follows from the dialogue alone. A last message too long keeps its end.

        Raises ValueError when it is not the bot's turn, ConfigError when there is no room.
        """
        if not dialogue.turns or dialogue.turns[-1].role != "user":
            raise ValueError("a prompt needs a dialogue that ends with a turn of the user")
        recalled = self._wordpiece.recall([turn.text for turn in (*opening, *dialogue.turns)])
        turns = [[*ids, self.sep_id] for ids in recalled]
        if 1 + sum(map(len, turns)) <= room:  # as nearly always
            return [self.cls_id, *chain.from_iterable(turns)]
        prompt, said = [self.cls_id, *chain.from_iterable(turns[: len(opening)])], turns[len(opening) :]
        if (left := room - len(prompt)) < 2:
            raise ConfigError(
                f"a prompt of {room} tokens has no room for a message after its opening of {len(prompt)}; "
                "lower the length of replies or shorten the opening"
            )
        first = _first_kept([turn.role for turn in dialogue.turns], list(map(len, said)), left)
        return prompt + list(chain.from_iterable(said[first:]))[-left:]

    def begin(self, text: str) -> list[int]:
        """[CLS] and the text: a turn that is to be continued, not answered."""
        return [self.cls_id, *self.encode_texts([text])[0].tolist()]

    def text(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of `ids` as they come, in whole characters and words; special tokens are passed over."""
        decoder = Decoder(self._pieces)
        yield from filter(None, (decoder.push((token,)) for token in ids))
        yield from filter(None, (decoder.finish(),))

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.text(ids))

    def decoder(self) -> Decoder:
        """`text` for those who have the ids a few at a time."""
        return Decoder(self._pieces)

    @cached_property
    def _pieces(self) -> list[Piece | None]:
        return [None if is_marker(e) or e.isspace() else piece_of(e) for e in self.vocabulary]


def _split(sizes: Sequence[int], first: int, window: int) -> Iterator[SlotRow]:
    """Slots for one dialogue that is too long: turns first, first + 1, … of these sizes."""
    used = window
    for i, size in enumerate(sizes):
        fresh = used + size + 1 > window
        length = min(size, window - 2) if fresh else size
        if fresh:
            used = 1
            context = min(sizes[i - 1], window - length - 3) if i else 0
            if context > 0:
                yield True, first + i - 1, sizes[i - 1] - context, context, False, False
                used += context + 1
        yield used == 1, first + i, 0, length, True, length == size
        used += length + 1


def _with_targets(slots: Slots) -> Slots:
    """The slots of those examples that have something to learn."""
    example = np.cumsum(slots["first"]) - 1
    targets = slots["learn"] * slots["length"] + slots["learn_sep"]
    return slots[np.bincount(example, targets)[example] > 0] if len(slots) else slots


def _characters(slots: Slots, lengths: Int64, sizes: Int64) -> Int32:
    """[examples] characters in the turns to be learned; of a turn that was cut, its share."""
    turn = slots["turn"]
    share = slots["length"] / np.maximum(sizes[turn], 1)
    counts = np.where(slots["learn"], lengths[turn] * share, 0)
    example = np.cumsum(slots["first"]) - 1
    return np.rint(np.bincount(example, counts)).astype(np.int32) if len(slots) else np.zeros(0, np.int32)


def _first_kept(roles: Sequence[str], sizes: Sequence[int], room: int) -> int:
    """The first turn of the last prompt: every prompt since the dialogue's start is gone through in turn."""
    start = used = 0
    for end, role in enumerate(roles):
        used += sizes[end]
        if role == "user" and used > room:
            while start < end and (used > room * REFILL or roles[start] != "user"):
                used -= sizes[start]
                start += 1
    return start
