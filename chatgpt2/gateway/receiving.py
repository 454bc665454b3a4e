"""The inbox that an adapter is given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

from chatgpt2.adapter import Adapter, AdapterError, Inbound
from chatgpt2.commands import read_order
from chatgpt2.gateway.desk import Desk
from chatgpt2.gateway.report import Tally
from chatgpt2.gateway.rules import Rules
from chatgpt2.store import Arrival, Letter, Mailbox, Receipt, SessionKey

_LINES: Mapping[Receipt, str] = {
    "busy": "我还在想前面的话，等我答完再说吧。",
    "slow": "你说得太快了，请歇一分钟再说。",
    "spent": "今天的次数用完了，明天再聊吧。",
}
_STRANGER = "抱歉，这个机器人只和名单上的人聊天。（你的编号：{user}）"
_LONGEST_ID = 255  # characters, in the database

log = logging.getLogger(__name__)


def key_of(inbound: Inbound) -> SessionKey:
    """The session that an event belongs to."""
    return SessionKey(inbound.platform, inbound.account, inbound.chat_id, inbound.thread_id)


class Receiver:
    """Keeps what is to be answered, and says politely what is not. `kept` is told of every kept event."""

    def __init__(
        self,
        mailbox: Mailbox | Desk,
        adapter: Adapter,
        rules: Rules,
        tally: Tally,
        kept: Callable[[SessionKey, bool], None],
    ) -> None:
        self._mailbox, self._adapter, self._rules, self._tally = mailbox, adapter, rules, tally
        self._kept = kept
        self._polite: set[asyncio.Task[None]] = set()

    async def submit(self, inbound: Inbound) -> bool:
        """See chatgpt2.adapter.Inbox."""
        return (await self.submit_all([inbound]))[0]

    async def submit_all(self, inbounds: Sequence[Inbound]) -> list[bool]:
        """See chatgpt2.adapter.Inbox."""
        heard = [self._rules.hears(replace(each, text=_clean(each.text))) for each in inbounds]
        arrivals = [self._arrival(each) for each in heard if each is not None]
        receipts = iter(await self._mailbox.submit_all(arrivals))
        return [each is None or self._received(each, next(receipts)) for each in heard]

    def _arrival(self, inbound: Inbound) -> Arrival:
        known, gate = self._rules.knows(inbound), self._rules.gate(inbound.user_id)
        stop = known and _is_stop(inbound)  # nobody ends what is said to others
        return Arrival(_letter(inbound), gate, stop, known and inbound.kind != "stop")

    def _received(self, inbound: Inbound, receipt: Receipt) -> bool:
        """Do what follows from a receipt. False: it was here before."""
        known = self._rules.knows(inbound)
        self._count(receipt, known)
        if receipt == "new" and known:
            self._kept(key_of(inbound), _is_stop(inbound))
        elif inbound.kind == "feedback":  # it was no word, and gets none
            return receipt != "seen"
        elif line := _STRANGER.format(user=inbound.user_id) if receipt == "new" else _LINES.get(receipt):
            self._say(inbound, line)
        return receipt != "seen"

    async def close(self) -> None:
        """Wait for the last polite words."""
        await asyncio.gather(*self._polite, return_exceptions=True)

    def _count(self, receipt: Receipt, known: bool) -> None:
        if receipt == "seen":
            self._tally.seen += 1
        elif receipt == "new" and known:
            self._tally.received += 1
        else:
            self._tally.refused += 1

    def _say(self, inbound: Inbound, line: str) -> None:
        """A courtesy, said at once and once: it does not wait behind the answers, and nobody misses it."""
        task = asyncio.create_task(self._send(inbound, line))
        self._polite.add(task)
        task.add_done_callback(self._polite.discard)

    async def _send(self, inbound: Inbound, line: str) -> None:
        reply = self._adapter.open_reply(inbound)
        try:
            await reply.send(line, index=0, final=True, feedback_id=None)
        except Exception as error:
            log.info("%s: a polite line was not taken: %s", inbound.platform, error)
        finally:
            await reply.close()


def _is_stop(inbound: Inbound) -> bool:
    order = read_order(inbound.text) if inbound.kind == "text" else None
    return inbound.kind == "stop" or (order is not None and order.name == "stop")


def _letter(inbound: Inbound) -> Letter:
    for name in ("account", "chat_id", "thread_id", "user_id", "message_id"):
        if len(getattr(inbound, name)) > _LONGEST_ID:
            raise AdapterError(f"{inbound.platform}: {name} has more than {_LONGEST_ID} characters.")
    return Letter(
        inbound.platform,
        inbound.account,
        inbound.chat_id,
        inbound.thread_id,
        inbound.user_id,
        inbound.message_id,
        asdict(inbound),
        inbound.sent_at,
    )


def _clean(text: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    return text.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
