from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from chatgpt2.adapter import Adapter, Health, Limits, Reply, length, read_settings
from chatgpt2.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "chars", "utf16", "utf8"),
    [("abc", 3, 3, 3), ("你好", 2, 2, 6), ("😀", 1, 2, 4), ("\ud83d", 1, 1, 3), ("", 0, 0, 0)],
)
def test_a_text_is_as_long_as_the_platform_finds(text: str, chars: int, utf16: int, utf8: int) -> None:
    assert (length(text, "chars"), length(text, "utf16"), length(text, "utf8")) == (chars, utf16, utf8)


def test_the_limits_of_the_platforms_that_we_know() -> None:
    assert length("😀" * 2048, "utf16") == 4096
    assert (length("汉" * 682, "utf8"), length("汉" * 683, "utf8")) == (2046, 2049)


@pytest.mark.parametrize("wrong", [{"max_length": 0}, {"max_length": 100, "sends_per_inbound": 0}])
def test_limits_that_let_nothing_through_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="or more"):
        Limits(**wrong)


@dataclass(frozen=True)
class Settings:
    token: str
    wait: float = 1.5
    count: int = 3
    proxy: str | None = None
    groups: bool = False
    names: tuple[str, ...] = ()


def test_settings_are_read_into_the_adapters_own_dataclass() -> None:
    assert read_settings(Settings, {"token": "t"}) == Settings("t")
    given = {"token": 123, "wait": 2, "count": "7", "proxy": "http://p", "groups": "yes", "names": ["a", "b"]}
    read = read_settings(Settings, given)
    assert read == Settings("123", 2.0, 7, "http://p", True, ("a", "b"))
    assert read_settings(Settings, {"token": "t", "proxy": None}) == Settings("t")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "token is missing"),
        ({"token": "t", "tokn": 1}, "no setting tokn: there are token, wait"),
        ({"token": "t", "wait": "soon"}, "wait must be a number"),
        ({"token": "t", "count": 1.5}, "count must be a whole number"),
        ({"token": True}, "token must be text"),
        ({"token": "t", "groups": 7}, "groups must be true or false"),
        ({"token": "t", "names": "a"}, "names must be a list"),
    ],
)
def test_a_setting_that_cannot_be_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_settings(Settings, given)


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        read_settings(Settings, {"token": ["hunter2"]})
    assert "hunter2" not in str(raised.value)


async def test_what_an_adapter_need_not_say_has_a_default() -> None:
    class Silent(Adapter):
        name, account, limits = "silent", "me", Limits(100)

        def open_reply(self, inbound: object) -> Reply:
            class Way(Reply):
                async def send(self, chunk: str, **_: object) -> str:
                    return chunk

            return Way()

    adapter = Silent()
    assert (adapter.routes(), adapter.health()) == ((), Health())
    await adapter.run()
    await adapter.stop()
    reply = adapter.open_reply(None)
    await reply.typing(True)
    await reply.preview("…")
    assert await reply.send("好", index=0, final=True, feedback_id=None) == "好"
    await reply.close()
    assert replace(adapter.limits, max_length=20).unit == "chars"
