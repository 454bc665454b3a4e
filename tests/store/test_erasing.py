"""Everything that is kept of a person goes, from every table, and nothing of anybody else's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, select

from chatgpt2.adapter import Inbound
from chatgpt2.dialogue import Turn
from chatgpt2.store import (
    AdapterState,
    ApiKeys,
    Audit,
    Batch,
    Feedback,
    Gate,
    Leases,
    Letter,
    Mailbox,
    People,
    Person,
    Queue,
    Sent,
    SessionKey,
    SessionStore,
)
from chatgpt2.store.erasing import erase, scrub
from chatgpt2.store.tables import metadata
from chatgpt2.store.upkeep import check

BOT = ("telegram", "bot")
GROUP = SessionKey(*BOT, "group")


@dataclass(frozen=True)
class Somebody:
    """Their id, and a word that is in all that they say and hear. ASCII: in JSON it is written as it is."""

    id: str
    word: str

    def does(self, number: int, chat: str) -> Inbound:
        return Inbound(*BOT, chat, self.id, f"{chat}:{self.word}{number}", self.word)


GOES, STAYS = Somebody("u1001", "secret"), Somebody("u10012", "public")


def every(queue: Queue, waiting: Any) -> int:
    return len(waiting)


async def live(store: SessionStore, who: Somebody) -> None:
    """Leave traces wherever a person does who talks to a bot, in private and in a group."""
    people, audit, state = People(store), Audit(store), AdapterState(store, "shop")
    for key in (SessionKey(*BOT, who.id), GROUP):
        message = who.does(1, key.chat).message_id
        await store.append(key, who.word, f"{who.word}!", user_id=who.id, message_id=message)
        await Feedback(store).give(key, "down", who.word, user=who.id, message_id=message)
        await state.set(f"bot:seen:{message}", who.word)  # as it was written before it had an owner
        await state.set(
            f"bot:digest of {key.chat} by {len(who.word + who.id)}", who.word, of=who.does(1, key.chat)
        )
    await store.rename(SessionKey(*BOT, who.id), who.word)
    await store.set_persona(SessionKey(*BOT, who.id), [Turn("user", who.word), Turn("bot", "好")])
    await state.set(f"bot:context:{who.id}", "a token")
    await people.opt_out(*BOT, who.id)
    await audit.note(f"telegram:{who.id}", "optout")
    for person in (Person("telegram", who.id), Person("telegram", who.id, "bot")):
        await audit.note("cli", "export", person=str(person), dialogues=1)


async def write_letters(store: SessionStore) -> None:
    """One that is answered, and one that waits, of each person in each chat."""
    box = Mailbox(store)
    for number in (1, 2):
        for who in (GOES, STAYS):
            for chat in (who.id, GROUP.chat):
                event = who.does(number, chat)
                told = {"user_id": who.id, "text": who.word}
                await box.submit(Letter(*BOT, chat, "", who.id, event.message_id, told), Gate(waiting=9))
                if number == 1:
                    claimed = await box.claim([BOT], 9, 60, every)
                    [(queue, batch)] = [each for each in claimed if isinstance(each[1], Batch)]
                    for chunk in await box.answer(queue, batch, [f"{who.word}!", who.word], greeted=True):
                        await box.sent(queue, Sent(chunk, f"{chat}/{who.word}"), None)
                    await box.release()


async def found(store: SessionStore, who: Somebody) -> dict[str, int]:
    """In how many columns of how many rows of each table something of this person stands."""
    here = dict[str, int]()
    async with store.reading() as db:
        for table in metadata.sorted_tables:
            rows = (await db.execute(select(table))).all()
            assert rows, f"the test puts nothing into {table.name}"
            said = [str(value) for row in rows for value in row]
            other = STAYS.id if who is GOES else "\0"  # begins like the id that goes
            here[table.name] = sum(who.id in each.replace(other, "") or who.word in each for each in said)
    return {name: count for name, count in here.items() if count}


async def test_of_a_private_chat_nothing_is_left_in_any_table_or_byte(url: str, tmp_path: Path) -> None:
    async with await SessionStore.open(url) as store:
        await ApiKeys(store).create("a program")
        await Leases(store, "a process").take("telegram:bot", 60)
        await write_letters(store)
        for who in (GOES, STAYS):
            await live(store, who)
        before = await found(store, STAYS)
        assert before == await found(store, GOES)
        assert before.keys() == metadata.tables.keys() - {"api_keys", "leases"}
        await erase(store, Person("telegram", GOES.id))
        assert await scrub(store)
        assert (await found(store, GOES), await found(store, STAYS)) == ({}, before)
        assert await check(store) == []
        done = [(deed.action, deed.detail.get("person")) for deed in await Audit(store).recent(9)]
        assert done.count(("export", "telegram:(erased)")) == 2
        if make_url(url).get_backend_name() == "sqlite":
            written = b"".join(file.read_bytes() for file in tmp_path.glob("chat.db*"))
            assert GOES.word.encode() not in written and STAYS.word.encode() in written
            assert GOES.id.encode() not in written.replace(STAYS.id.encode(), b"")


async def test_an_account_of_the_platform_is_erased_without_the_others(url: str) -> None:
    async with await SessionStore.open(url) as store:
        state, audit = AdapterState(store, "shop"), Audit(store)
        for account in ("one", "two"):
            await state.set(f"{account}:x", 1, of=Inbound("telegram", account, "c", "u", "m"))
            await state.set(f"{account}:context:u", 1)
            await audit.note("cli", "export", person=f"telegram:{account}:u")
        await audit.note("cli", "export", person="telegram")
        await erase(store, Person("telegram", "u", "one"))
        assert set(await state.all()) == {"two:x", "two:context:u"}
        named = [deed.detail["person"] for deed in await audit.recent(9)]
        assert named == ["telegram", "telegram:two:u", "telegram:(erased)"]
        await erase(store, Person("telegram", ""))
        assert len(await state.all()) == 2 and len(await audit.recent(9)) == 3


async def test_what_somebody_is_remembered_by_keeps_them_when_it_changes(url: str) -> None:
    async with await SessionStore.open(url) as store:
        state = AdapterState(store, "shop")
        await state.set("stream", "你", of=Inbound("telegram", "bot", "c", "u", "m"))
        await state.set("stream", "你好")
        await erase(store, Person("web", "u"))
        assert await state.get("stream") == "你好"
        await erase(store, Person("telegram", "u"))
        assert await state.get("stream") is None
