"""Who is answered: the settings of a bot that the gateway reads, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.talking import Scripted
from scripted import Memory, gateway_of

from chatgpt2.gateway import Rules


def heard(rules: Rules, number: int = 1, **facts: Any) -> bool:
    """Whether something that is said in a group is answered."""
    said = {"is_group": True, "addressed": False, **facts}
    return rules.hears(Memory().event(number, **said)) is not None


def test_a_mention_and_a_reply_call_the_bot_unless_they_are_not_to() -> None:
    for kind, name in (("addressed", "group_mention"), ("to_bot", "group_reply")):
        assert heard(Rules(), **{kind: True})
        assert not heard(Rules(**{name: False}), **{kind: True})
        assert Rules(**{name: False}).hears(Memory().event(1, addressed=True)), (
            "in private it is always meant"
        )
    assert heard(Rules(group_mention=False), addressed=True, to_bot=True)


def test_what_was_not_called_for_is_answered_as_often_as_is_set() -> None:
    def answered(often: float) -> list[bool]:
        return [heard(Rules(group_probability=often), number) for number in range(1000)]

    assert not any(answered(0)) and all(answered(1))
    assert 250 < sum(answered(0.3)) < 350
    assert answered(0.3) == answered(0.3), "delivered again, it is decided as before"
    assert not heard(Rules(group_probability=1), kind="unsupported", text="")


def test_chance_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatgpt2.gateway.rules._chance", lambda _: 0.5)
    assert heard(Rules(group_probability=0.51)) and not heard(Rules(group_probability=0.5))


async def test_no_limit_holds_for_admins(sqlite: str) -> None:
    adapter = Memory()
    rules = Rules(notice="", allow=("u",), admins=("boss",), per_minute=1, per_day=1)
    async with gateway_of(sqlite, Scripted(), adapter, rules=rules) as gateway:
        for number, user in enumerate(("boss", "boss", "boss", "u", "u", "stranger")):
            await adapter.inbox.submit(adapter.event(number, user_id=user, chat_id=user))
        await adapter.until(lambda: len(adapter.sent) == 6 and not gateway.busy)
    said = dict(adapter.sent)
    assert all(said[f"m{number}"].startswith("答") for number in range(4))
    assert "太快" in said["m4"] and "名单" in said["m5"]
