from __future__ import annotations

from chatgpt2.store import Audit, Feedback, SessionKey, SessionStore

KEY = SessionKey("telegram", account="bot", chat="7")


async def test_feedback_is_given_changed_and_taken_back(url: str) -> None:
    async with await SessionStore.open(url) as store:
        feedback = Feedback(store)
        assert await feedback.give(KEY, "up") is None  # nobody has said anything
        await store.append(KEY, "你好", "你好呀", message_id="m1", user_id="u1")
        await store.append(KEY, "在吗", "在的", message_id="m2", user_id="u1")
        assert await feedback.give(KEY, "up", user="u1") == 3  # the last reply
        assert await feedback.give(KEY, "up", user="u1", message_id="m1") == 1
        assert await feedback.give(KEY, "down", user="u2", position=1) == 1
        assert await feedback.give(KEY, "down", position=0) is None  # not a reply
        assert await feedback.verdicts(KEY, "u1") == {3: "up", 1: "up"}
        assert await feedback.verdicts(KEY, "u2") == {1: "down"}
        assert await feedback.give(KEY, text="太短", user="u1", position=1) == 1
        assert await feedback.give(KEY, "down", user="u1", position=1) == 1
        newest = (await feedback.recent(1))[0]
        assert (newest.session, newest.position, newest.reply) == (KEY, 1, "你好呀")
        assert (newest.user, newest.verdict, newest.text) == ("u1", "down", "太短")
        assert await feedback.give(KEY, user="u1", position=1) == 1
        assert [(each.user, each.verdict) for each in await feedback.recent(9)] == [
            ("u2", "down"),
            ("u1", "up"),
        ]


async def test_feedback_goes_with_its_turn(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await store.append(KEY, "你好", "你好呀")
        await Feedback(store).give(KEY, "up")
        await store.replace_reply(KEY, "嗨")
        assert await Feedback(store).give(KEY, "down", position=1) is None  # out of the conversation
        assert await Feedback(store).verdicts(KEY) == {1: "up"}
        await store.delete(KEY)
        assert await Feedback(store).recent(9) == []


async def test_the_audit_tells_the_newest_first(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await Audit(store).note("cli", "key.create", label="网页")
        await Audit(store).note("cli", "model.exchange")
        told = [(each.actor, each.action, each.detail) for each in await Audit(store).recent(9)]
        assert told == [("cli", "model.exchange", {}), ("cli", "key.create", {"label": "网页"})]
