"""Answers in the answer to the callback, for accounts that may not speak otherwise.

WeChat waits 5 seconds, then hangs up and delivers the message again, three times in all. So each delivery is held
nearly that long; whoever has no answer by the third is told to write anything to get it, and what he writes then
is not a message but a question for what is kept. Everything is in the state, under

    ACCOUNT:seen:MESSAGE                    deliveries so far, and what was answered: each one gets the same
    ACCOUNT:chunk:OPENID:TIME:MESSAGE:INDEX a piece of an answer that nobody has fetched yet
    ACCOUNT:told:OPENID                     the person was told to write anything
    ACCOUNT:closed:OPENID                   when the last message that has been dealt with arrived

so it does not matter in which process an answer is made, and in which one it is fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chatgpt2.adapter import Inbound, Inbox, Services

DELIVERIES = 3
LONGEST = 2047  # bytes of a text
THINKING = "AI 还在想，过几秒回复任意文字来取答案。"
MORE = "\n（未完，回复任意文字继续）"
_LOOK = 0.5  # seconds between looks for what another process has written
_OWED = 600.0  # seconds for which an answer that is not there yet is believed in
_KEPT = 48 * 3600.0  # seconds


class Desk:
    """Where answers wait for the callback that fetches them. `patience`: seconds that WeChat waits."""

    def __init__(self, account: str, services: Services, patience: float) -> None:
        self._account, self._state, self._clock = account, services.state, services.clock
        self._patience = patience
        self._news: dict[str, asyncio.Event] = {}
        self._taking = asyncio.Lock()

    async def serve(self, inbound: Inbound, inbox: Inbox) -> str | None:
        """What this delivery is answered with: a text, "" for nothing at all, or None, said when WeChat has hung up,
        for "deliver it again". Raises StoreError."""
        key = f"seen:{inbound.message_id}"
        seen = await self._get(key) or await self._first_sight(inbound)
        if seen["answer"] is not None:
            return str(seen["answer"])
        if not seen["fetches"]:
            await inbox.submit(replace(inbound, reply_to={"at": seen["at"]}))
        seen["deliveries"] += 1
        await self._set(key, seen, inbound)
        answer = await self._wait(inbound, seen)
        if answer is None and seen["deliveries"] >= DELIVERIES:
            answer = await self._give_up(inbound)
        if answer is None:
            await asyncio.sleep(0.3 * self._patience)
        else:
            await self._set(key, {**seen, "answer": answer}, inbound)
        return answer

    async def put(self, inbound: Inbound, chunk: str, index: int, final: bool) -> None:
        """Keep a piece of an answer for whoever fetches it."""
        place = f"{inbound.reply_to['at']:017.6f}:{inbound.message_id}:{index:04}"
        kept = {"text": chunk, "final": final, "message": inbound.message_id}
        await self._set(f"chunk:{inbound.chat_id}:{place}", kept, inbound)
        self._tell(inbound.chat_id)

    async def close(self, inbound: Inbound) -> None:
        """The answer is complete: nobody needs to wait for it, or for one to an earlier message."""
        person, at = inbound.chat_id, inbound.reply_to["at"]
        await self._set(f"closed:{person}", {"at": max(at, await self._closed(person))}, inbound)
        async with self._taking:
            told = await self._get(f"told:{person}")
            if told and told["at"] <= at and not await self._chunks(person):
                await self._set(f"told:{person}", None, inbound)
        self._tell(person)

    async def sweep(self) -> None:
        """Forget what nobody will ask for any more."""
        for kind in ("seen", "told", "closed"):
            for key, value in (await self._state.all(f"{self._account}:{kind}:")).items():
                if value["at"] < self._clock() - _KEPT:
                    await self._state.set(key, None)
        for key in await self._state.all(f"{self._account}:chunk:"):
            if float(key.split(":")[3]) < self._clock() - _KEPT:
                await self._state.set(key, None)

    async def _first_sight(self, inbound: Inbound) -> dict[str, Any]:
        fetches = await self._fetches(inbound)
        return {"deliveries": 0, "answer": None, "at": self._clock(), "fetches": fetches}

    async def _fetches(self, inbound: Inbound) -> bool:
        """Whether this is the "anything" that the person was told to write."""
        if inbound.kind != "text" or inbound.text.startswith(("/", "／")):
            return False
        told = await self._get(f"told:{inbound.chat_id}")
        if told is None:
            return False
        return bool(self._clock() < told["since"] + _OWED or await self._chunks(inbound.chat_id))

    async def _wait(self, inbound: Inbound, seen: Mapping[str, Any]) -> str | None:
        person, now = inbound.chat_id, asyncio.get_running_loop().time
        ends = now() + 0.9 * self._patience
        while True:
            event = self._news.setdefault(person, asyncio.Event())
            async with self._taking:
                answer = await self._take(inbound, seen)
            left = ends - now()
            if answer is not None or left <= 0:
                return answer
            try:
                await asyncio.wait_for(event.wait(), min(_LOOK, left))
            except TimeoutError:
                continue

    async def _take(self, inbound: Inbound, seen: Mapping[str, Any]) -> str | None:
        """The next piece for this message; "" when there will be none; None when it is not there yet."""
        person = inbound.chat_id
        chunks = await self._chunks(person)
        mine = [key for key in chunks if seen["fetches"] or chunks[key]["message"] == inbound.message_id]
        if mine:
            return await self._hand_out(inbound, mine[0], chunks)
        if seen["fetches"]:
            return None if await self._get(f"told:{person}") else ""
        return "" if await self._closed(person) >= seen["at"] else None

    async def _hand_out(self, inbound: Inbound, key: str, chunks: Mapping[str, Any]) -> str:
        chunk = chunks[key]
        text, rest = str(chunk["text"]), ""
        goes_on = len(chunks) > 1 or not chunk["final"]
        if goes_on:
            text, rest = _cut(text, LONGEST - len(MORE.encode()))
            text += MORE
        # Noted before the piece is forgotten: another delivery of this message gets it again.
        seen = f"seen:{inbound.message_id}"
        await self._set(seen, {**(await self._get(seen)), "answer": text}, inbound)
        told = {"at": float(key.split(":")[3]), "since": self._clock()} if goes_on else None
        await self._set(f"told:{inbound.chat_id}", told, inbound)
        await self._state.set(key, {**chunk, "text": rest} if rest else None)
        return text

    async def _give_up(self, inbound: Inbound) -> str:
        if inbound.kind != "text":
            return ""
        told = await self._get(f"told:{inbound.chat_id}")
        if told is None:
            seen = await self._get(f"seen:{inbound.message_id}")
            told = {"at": seen["at"]}
        await self._set(f"told:{inbound.chat_id}", {**told, "since": self._clock()}, inbound)
        return THINKING

    async def _chunks(self, person: str) -> dict[str, Any]:
        """What waits for this person, the oldest first, by its whole key."""
        return dict(sorted((await self._state.all(f"{self._account}:chunk:{person}:")).items()))

    async def _closed(self, person: str) -> float:
        closed = await self._get(f"closed:{person}")
        return float(closed["at"]) if closed else 0.0

    def _tell(self, person: str) -> None:
        event = self._news.pop(person, None)
        if event is not None:
            event.set()

    async def _get(self, key: str) -> Any:
        return await self._state.get(f"{self._account}:{key}")

    async def _set(self, key: str, value: Any, inbound: Inbound) -> None:
        await self._state.set(f"{self._account}:{key}", value, of=inbound)


def _cut(text: str, most: int) -> tuple[str, str]:
    """The text up to so many bytes of UTF-8, and the rest."""
    head = text.encode()[:most].decode(errors="ignore")
    return head, text[len(head) :]
