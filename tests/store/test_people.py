from __future__ import annotations

from pathlib import Path

from sqlalchemy import update

from chatgpt2.dialogue import Dialogue
from chatgpt2.store import Audit, Feedback, People, Person, SessionKey, SessionStore
from chatgpt2.store.erasing import Erased, erase, prune, scrub
from chatgpt2.store.tables import sessions, turns
from chatgpt2.store.upkeep import check, counts

ALONE = SessionKey("telegram", account="bot", chat="u1")
GROUP = SessionKey("telegram", account="bot", chat="g")
HOME = SessionKey("terminal", chat="default")


async def exported(store: SessionStore, person: Person | None = None, **how: bool) -> list[Dialogue]:
    return [dialogue async for dialogue in People(store).dialogues(person, **how)]


async def fill(store: SessionStore) -> None:
    await store.append(ALONE, "甲一", "答一", user_id="u1")
    await store.append(GROUP, "甲二", "答二", user_id="u1")
    await store.append(GROUP, "乙一", "答三", user_id="u2")
    await store.append(GROUP, "甲三", "答四", user_id="u1")
    await store.append(HOME, "丙一", "答五")


async def test_everybody_is_exported_in_whole_conversations(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await fill(store)
        group = ["甲二", "答二", "乙一", "答三", "甲三", "答四"]
        assert await exported(store) == [
            Dialogue.of(["甲一", "答一"]),
            Dialogue.of(group),
            Dialogue.of(["丙一", "答五"]),
        ]


async def test_one_person_is_exported_without_the_others(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await fill(store)
        own = [Dialogue.of(["甲一", "答一"]), Dialogue.of(["甲二", "答二"]), Dialogue.of(["甲三", "答四"])]
        assert await exported(store, Person("telegram", "u1")) == own
        assert await exported(store, Person("telegram", "u1", "other")) == []
        assert await exported(store, Person("terminal")) == [Dialogue.of(["丙一", "答五"])]


async def test_who_opted_out_is_not_exported_until_they_opt_in(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await fill(store)
        people = People(store)
        for _ in range(2):
            await people.opt_out("telegram", "bot", "u1")
        assert await people.opted_out("telegram", "bot", "u1")
        assert await exported(store) == [Dialogue.of(["乙一", "答三"]), Dialogue.of(["丙一", "答五"])]
        assert await exported(store, Person("telegram", "u1")) == []
        await people.opt_out("terminal", "")
        assert await exported(store) == [Dialogue.of(["乙一", "答三"])]
        await people.opt_in("telegram", "bot", "u1")
        assert len(await exported(store)) == 2


async def test_what_was_taken_back_is_not_exported_and_a_reset_cuts(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await store.append(HOME, "一", "甲")
        await store.append(HOME, "二", "乙")
        await store.undo(HOME)
        await store.replace_reply(HOME, "甲甲")
        await store.append(HOME, "脏话", "不聊这个", removed="blocked")
        await store.append(HOME, "三", "丙")
        await store.clear(HOME)
        await store.append(HOME, "四", "丁")
        assert await store.load(HOME) == Dialogue.of(["四", "丁"])
        assert await exported(store) == [
            Dialogue.of(["一", "甲甲", "三", "丙"]),
            Dialogue.of(["四", "丁"]),
        ]


async def test_disliked_replies_can_be_left_out(url: str) -> None:
    async with await SessionStore.open(url) as store:
        for number in "一二三":
            await store.append(HOME, f"问{number}", f"答{number}")
        await Feedback(store).give(HOME, "down", position=3)
        await Feedback(store).give(HOME, "up", position=5)
        assert len(await exported(store)) == 1
        assert await exported(store, without_disliked=True) == [
            Dialogue.of(["问一", "答一"]),
            Dialogue.of(["问三", "答三"]),
        ]


async def test_erasing_leaves_nothing_of_a_person_and_everything_of_others(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await fill(store)
        await Feedback(store).give(GROUP, "up", user="u1", position=3)
        await Feedback(store).give(GROUP, "down", user="u2", position=3)
        await People(store).opt_out("telegram", "bot", "u1")
        await Audit(store).note("telegram:u1", "optout")
        assert await erase(store, Person("telegram", "u1")) == Erased(6, 1, 1, 2)
        assert await scrub(store)
        assert await store.load(GROUP) == Dialogue.of(["乙一", "答三"])
        assert await store.info(ALONE) is None
        assert [each.user for each in await Feedback(store).recent(9)] == ["u2"]
        assert (await counts(store))["audit"] == (await counts(store))["opt_outs"] == 0
        assert await check(store) == []
        assert await erase(store, Person("terminal")) == Erased(2, 1)


async def test_no_byte_of_what_was_erased_stays_in_the_files(tmp_path: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        for number in range(300):
            await store.append(ALONE, f"秘密{number}" * 20, f"嘘嘘{number}" * 20, user_id="u1")
            await store.append(HOME, f"公开{number}", "好")
        secrets = ["秘密".encode(), "嘘嘘".encode()]
        before = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert all(secret in before for secret in secrets)
        await erase(store, Person("telegram", "u1"))
        assert await scrub(store)
        after = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert not any(secret in after for secret in secrets)
        assert "公开299".encode() in after


async def test_scrubbing_says_when_a_reader_keeps_the_log(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    async with await SessionStore.open(url) as store, await SessionStore.open(url) as other:
        await fill(store)
        async with other.reading() as db:
            await db.execute(sessions.select())
            await store.append(HOME, "丙二", "答六")
            assert not await scrub(store)
        assert await scrub(store)


async def test_what_is_too_old_is_pruned_by_whole_exchanges(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await store.append(HOME, "一", "甲")
        await store.append(HOME, "二", "乙")
        await fill(store)
        await store.append(ALONE, "老", "旧", user_id="u1")
        await store.replace_reply(ALONE, "新")
        young = (await store.record(ALONE))[-1].created
        async with store.writing() as db:
            aged = (turns.c.text.in_(["一", "甲", "甲一", "答一", "老", "旧"])) | turns.c.text.like("乙%")
            old = young.replace(year=young.year - 1)
            await db.execute(update(turns).where(aged).values(created=old))
            await db.execute(update(sessions).where(sessions.c.chat == "g").values(last_active=old))
            gone = turns.c.session_id.in_(
                sessions.select().with_only_columns(sessions.c.id).filter_by(chat="g")
            )
            await db.execute(update(turns).where(gone).values(created=old))
        assert await prune(store, young.replace(month=1, day=1)) == Erased(turns=2 + 6 + 2, sessions=1)
        assert await store.load(ALONE) == Dialogue.of(["老", "新"])
        assert await store.load(HOME) == Dialogue.of(["二", "乙", "丙一", "答五"])
        assert await check(store) == []
