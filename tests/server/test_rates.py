"""How often one may ask, and who counts as one."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fakes.talking import Scripted
from serving import served
from starlette.requests import HTTPConnection

from chatgpt2.cli.serve import rates_of
from chatgpt2.server.faults import Fault
from chatgpt2.server.passage import Limits
from chatgpt2.server.rates import Addresses, Purse, Purses
from chatgpt2.store import ApiKeys, SessionStore

TWO = {"limits": Limits(per_minute=2)}


def test_a_purse_fills_evenly() -> None:
    purse = Purse(60)
    assert [purse.pay(0) for _ in range(60)] == [0] * 60
    assert purse.pay(0) == pytest.approx(1)
    assert purse.pay(0.5) == pytest.approx(0.5)
    assert purse.pay(2) == 0
    assert [purse.pay(10_000) for _ in range(61)][-1] == pytest.approx(1)


def test_only_the_latest_names_are_remembered() -> None:
    purses = Purses(most=3)
    for name in "abcd":
        purses.pay(name, 1, "This")
    assert len(purses) == 3
    purses.pay("a", 1, "This")  # forgotten, so its purse is full
    with pytest.raises(Fault, match="allows 1 requests a minute"):
        purses.pay("d", 1, "This")


async def test_a_house_of_ipv6_addresses_is_one() -> None:
    guard = Addresses(1)

    def asking(address: str) -> HTTPConnection:
        return HTTPConnection({"type": "http", "headers": [], "client": (address, 1)})

    await guard(asking("2001:db8::1"))
    await guard(asking("2001:db8:0:1::1"))
    await guard(asking("::ffff:10.0.0.1"))
    await guard(asking("::ffff:10.0.0.2"))
    with pytest.raises(Fault):
        await guard(asking("2001:db8::ffff:2"))


async def test_an_address_may_ask_so_often(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted(), http=TWO) as url, httpx.AsyncClient(base_url=url) as http:
        for _ in range(5):
            assert (await http.get("/")).status_code == (await http.get("/healthz")).status_code == 200
        answers = [await http.get("/v1/models", headers={"X-Forwarded-For": f"10.0.0.{n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 30


async def test_a_key_may_ask_so_often_unless_it_says_so_itself(tmp_path: Path) -> None:
    limits = {"limits": Limits(per_key=2)}
    async with (
        served(tmp_path, Scripted(), ask_for_keys=True, http=limits) as url,
        await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store,
        httpx.AsyncClient(base_url=url) as http,
    ):
        seen = []
        for per_minute in (None, 1, 0):
            key = await ApiKeys(store).create(f"of {per_minute}", per_minute=per_minute)
            bearer = {"Authorization": f"Bearer {key}"}
            asked = [(await http.get("/v1/models", headers=bearer)).status_code for _ in range(3)]
            seen.append(asked.count(200))
    assert seen == [2, 1, 3]


def test_only_those_who_come_from_elsewhere_are_limited_unless_it_is_asked_for() -> None:
    assert rates_of(True, None, None) == (0, 0)
    assert all(rates_of(False, None, None))
    assert rates_of(False, 0, 7) == rates_of(True, None, 7) == (0, 7)


async def test_a_trusted_proxy_tells_who_asks(tmp_path: Path) -> None:
    async with (
        served(tmp_path, Scripted(), http=TWO, proxies=["127.0.0.0/8"]) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):

        async def ask(chain: str) -> int:
            return (await http.get("/v1/models", headers={"X-Forwarded-For": chain})).status_code

        # Only the last address comes from the proxy: the client may have written the others itself.
        assert [await ask(f"10.9.9.{n}, 10.0.0.1") for n in range(3)] == [200, 200, 429]
        assert await ask("10.0.0.2") == 200
