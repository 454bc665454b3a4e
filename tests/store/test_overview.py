"""What an operator may see of a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chatgpt2.store import SessionKey, SessionStore, count_sessions, latest_activity


async def test_sessions_are_counted_and_the_latest_shown_without_their_words(url: str) -> None:
    first, second = SessionKey("web", chat="一"), SessionKey("telegram", "bot", "二")
    async with await SessionStore.open(url) as store:
        assert await count_sessions(store) == 0 and await latest_activity(store, 5) == []
        await store.append(first, "你好", "你好呀")
        await store.append(first, "在吗", "在")
        await store.undo(first)
        await store.append(second, "你好", "你好")
        latest = await latest_activity(store, 5)
        assert [(each.key, each.turns) for each in latest] == [(second, 2), (first, 2)]
        assert latest[0].created <= latest[0].last_active
        assert [each.key for each in await latest_activity(store, 1)] == [second]
        now = datetime.now(UTC)
        assert await count_sessions(store) == await count_sessions(store, now - timedelta(minutes=5)) == 2
        assert await count_sessions(store, now + timedelta(minutes=5)) == 0
