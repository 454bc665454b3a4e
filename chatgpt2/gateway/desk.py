"""A mailbox without a database, for a front end whose person sits at this very process: the terminal.

It does what Mailbox and Leases do, and is gone with the process; so is the person's line, which they see. A database
would cost several milliseconds before the first letter of each reply, hand a line to another terminal's process, and
keep what was said a second time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count

from chatgpt2.store import (
    OPINION,
    Arrival,
    Batch,
    Choose,
    Chunk,
    Gate,
    Letter,
    Pause,
    Queue,
    Receipt,
    Sent,
    Waiting,
    Work,
)

_MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class _Conversation:
    queue: Queue
    letters: list[Waiting] = field(default_factory=list)  # that are not answered
    batch: list[int] = field(default_factory=list)  # those that are answered together now
    chunks: list[Chunk] = field(default_factory=list)  # that are not sent
    stop: int = 0
    greeted: bool = False
    held: bool = False

    @property
    def of(self) -> tuple[str, str]:
        """The platform and the account."""
        return self.queue.platform, self.queue.account


class Desk:
    """Each method does what that of Mailbox or Leases does; there is nobody else who could have anything."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._conversations: dict[tuple[str, str, str, str], _Conversation] = {}
        # What has come in: its number, when, and from whom if it counts; the letter that an answer's ids belong to.
        self._seen: dict[tuple[str, str, str], tuple[int, datetime, str | None]] = {}
        self._answers: dict[str, int] = {}

    async def submit(self, letter: Letter, gate: Gate, *, stop: bool = False, answer: bool = True) -> Receipt:
        return self._keep(Arrival(letter, gate, stop, answer))

    async def submit_all(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        return [self._keep(arrival) for arrival in arrivals]

    def _keep(self, arrival: Arrival) -> Receipt:
        letter = arrival.letter
        name = (letter.platform, letter.account, letter.message_id)
        if name in self._seen:
            return "seen"
        conversation, now = self._conversation(letter), datetime.now(UTC)
        asked = arrival.answer and not arrival.stop
        receipt = self._receipt(conversation, letter, arrival.gate, now) if asked else "new"
        number = next(self._numbers)
        self._seen[name] = number, now, None if letter.opinion else letter.user_id
        if arrival.answer and receipt == "new":
            conversation.letters.append(Waiting(number, letter.event, now, 0))
        if arrival.stop:
            conversation.stop = number
        return receipt

    def _conversation(self, letter: Letter) -> _Conversation:
        key = (letter.platform, letter.account, letter.chat, letter.thread)
        if key not in self._conversations:
            self._conversations[key] = _Conversation(Queue(next(self._numbers), *key, lease="here"))
        return self._conversations[key]

    def _receipt(self, conversation: _Conversation, letter: Letter, gate: Gate, now: datetime) -> Receipt:
        if letter.opinion:
            return "new"
        waiting = sum(each.event.get("kind") != OPINION for each in conversation.letters)
        times = [at for _, at, user in self._seen.values() if user == letter.user_id]
        today = gate.midnight or now - timedelta(days=1)
        rules: tuple[tuple[Receipt, int | None, int], ...] = (
            ("slow", gate.per_minute, sum(at > now - _MINUTE for at in times)),
            ("spent", gate.per_day, sum(at >= today for at in times)),
            ("busy", gate.waiting, waiting),
        )
        for receipt, most, found in rules:
            if most is not None and found >= most:
                return receipt if found == most else "dropped"
        return "new"

    async def due(self, accounts: Collection[tuple[str, str]]) -> bool:
        return bool(self._claimable(accounts))

    def _claimable(self, accounts: Collection[tuple[str, str]]) -> list[_Conversation]:
        waiting = [each for each in self._conversations.values() if each.letters or each.chunks]
        return [each for each in waiting if not each.held and each.of in accounts]

    async def claim(
        self,
        accounts: Collection[tuple[str, str]],
        most: int,
        seconds: float,
        choose: Choose,
        busy: Collection[int] = (),
    ) -> list[tuple[Queue, Work]]:
        free = [each for each in self._claimable(accounts) if each.queue.id not in busy][:most]
        for each in free:
            each.held = True
        return [(each.queue, self._unsent(each) or self._letters(each, choose)) for each in free]

    async def renew(self, leased: Collection[Queue], seconds: float) -> dict[int, int | None]:
        return {queue.id: self._of(queue).stop or None for queue in leased if self._of(queue).held}

    async def release(self, *only: Queue) -> None:
        for each in self._conversations.values():
            each.held = each.held and bool(only) and each.queue not in only

    async def next(self, queue: Queue, choose: Choose, sent: Sent | None = None) -> Work:
        self._note(queue, sent)
        return self._letters(self._of(queue), choose)

    def _unsent(self, conversation: _Conversation) -> list[Chunk]:
        """What is left of the first answer."""
        return [each for each in conversation.chunks if each.inbox_id == conversation.chunks[0].inbox_id]

    def _letters(self, conversation: _Conversation, choose: Choose) -> Work:
        conversation.letters = [each for each in conversation.letters if each.id >= conversation.stop]
        conversation.held = bool(conversation.letters)
        return self._batch(conversation, choose) if conversation.letters else None

    def _batch(self, conversation: _Conversation, choose: Choose) -> Batch | Pause:
        letters = [each for each in conversation.letters if each.id in conversation.batch]
        if not letters:
            chosen = choose(conversation.queue, conversation.letters)
            if isinstance(chosen, float):
                return Pause(chosen)
            letters = conversation.letters[:chosen]
            conversation.batch = [each.id for each in letters]
        begun = [replace(each, attempts=each.attempts + 1) for each in letters]
        conversation.letters = begun + [each for each in conversation.letters if each not in letters]
        return Batch(letters, conversation.greeted)

    async def answer(
        self,
        queue: Queue,
        batch: Batch,
        texts: Sequence[str],
        *,
        feedback_id: str | None = None,
        greeted: bool,
    ) -> list[Chunk]:
        conversation, last = self._of(queue), len(texts) - 1
        made = [
            Chunk(
                *(next(self._numbers), batch.last.id, at, text, at == last),
                *(feedback_id if at == last else None, False, batch.last.event),
            )
            for at, text in enumerate(texts)
        ]
        conversation.chunks += made
        done = {letter.id for letter in batch.letters}
        conversation.letters = [each for each in conversation.letters if each.id not in done]
        conversation.greeted = conversation.greeted or greeted
        return made

    async def sent(self, queue: Queue, sent: Sent, following: Chunk | None) -> None:
        self._note(queue, sent)

    def _note(self, queue: Queue, sent: Sent | None) -> None:
        if sent is not None:
            conversation, chunk = self._of(queue), sent.chunk
            conversation.chunks = [each for each in conversation.chunks if each.id != chunk.id]
            names = (chunk.feedback_id, sent.platform_id)
            self._answers |= {about: chunk.inbox_id for about in names if about}

    async def not_sent(self, chunk: Chunk) -> None:
        """It is sent again by who has it."""

    async def again(self, queue: Queue, chunk: Chunk) -> None:
        """Nobody else could have it."""

    async def drop(self, queue: Queue, chunk: Chunk) -> int:
        conversation = self._of(queue)
        rest = [each for each in conversation.chunks if each.inbox_id == chunk.inbox_id]
        conversation.chunks = [each for each in conversation.chunks if each not in rest]
        return len(rest)

    async def answered(self, queue: Queue, about: str) -> str | None:
        letter = self._answers.get(about)
        return next((name[2] for name, seen in self._seen.items() if seen[0] == letter), None)

    async def pending(self) -> tuple[int, int]:
        letters = sum(len(each.letters) for each in self._conversations.values())
        return letters, sum(len(each.chunks) for each in self._conversations.values())

    async def purge(self, before: datetime) -> int:
        old = [name for name, (_, at, _) in self._seen.items() if at < before]
        gone = {self._seen.pop(name)[0] for name in old}
        self._answers = {about: letter for about, letter in self._answers.items() if letter not in gone}
        return len(gone)

    async def take(self, name: str, seconds: float) -> bool:
        return True

    async def give_back(self, name: str) -> None:
        """There is nobody to have it."""

    def _of(self, queue: Queue) -> _Conversation:
        return self._conversations[queue.platform, queue.account, queue.chat, queue.thread]
