"""A model that recites: what it answers follows from the message alone, and is one to three of Telegram's messages.

Its vocabulary has words of 1,500 characters, so that few tokens make a long answer.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from fakes.completions import FakeCompletions, Fault

from chatgpt2.vocabulary import SPECIAL

_DIGITS = "零一二三四五六七八九"
_WORDS = [letter * 1500 + "。" for letter in "甲乙丙丁戊己"]
_ENTRIES = [*SPECIAL, "第", "条", *_DIGITS, *_WORDS]
_IDS = {entry: number for number, entry in enumerate(_ENTRIES)}
_SENTENCES = (6, 4, 1)  # of answers in turn: two fit into a message
_SEP = _IDS["[SEP]"]
_PACE = 0.002  # seconds for a token


def message(user: int, number: int) -> str:
    """The words of a user's message."""
    return f"第{''.join(_DIGITS[int(digit)] for digit in f'{user:02}{number:04}')}条"


def answer(text: str) -> str:
    """What is answered to it."""
    number = _DIGITS.index(text[-2])
    return "".join(text + word for word in _WORDS[: _SENTENCES[number % 3]])


def model(folder: Path) -> Path:
    """A directory that `--engine remote` takes: a tokenizer, and no weights."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(_ENTRIES) + "\n", encoding="utf-8")
    sizes = {"vocab_size": len(_ENTRIES), "model_type": "gpt2", "n_positions": 512}
    (folder / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    return folder


class Recital(FakeCompletions):
    """The server of that model."""

    def __init__(self) -> None:
        super().__init__(len(_ENTRIES), stop_id=_SEP)

    async def _complete(
        self,
        body: dict[str, Any],
        fault: Fault | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.bodies.clear()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        ids = [*_answer_ids(body["prompt"]), self.stop_id]
        for token in ids:
            ended = "stop" if token == self.stop_id else None
            choice = {"index": 0, "text": "字", "token_ids": [token], "finish_reason": ended}
            writer.write(b"data: %s\n\n" % json.dumps({"choices": [choice]}).encode())
            await writer.drain()
            await asyncio.sleep(_PACE)
        writer.write(b"data: [DONE]\n\n")


def _answer_ids(prompt: list[int]) -> list[int]:
    assert prompt[-1] == _SEP
    begin = max(place for place, token in enumerate(prompt[:-1]) if token in (_SEP, _IDS["[CLS]"]))
    text = "".join(_ENTRIES[token] for token in prompt[begin + 1 : -1])
    count = _SENTENCES[_DIGITS.index(text[-2]) % 3]
    return [token for word in _WORDS[:count] for token in (*prompt[begin + 1 : -1], _IDS[word])]
