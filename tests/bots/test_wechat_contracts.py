"""The contract that every adapter keeps, held against WeChat's and WeCom's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.platforms import Application, ConnectedBot, Official, Personal, PolledBot, Subscription

from chatgpt2.adapter.testing import CHECKS

# A passive account speaks in answers to callbacks only. So nothing that it says can be refused, nobody calls for what
# was accepted before a crash, longer answers are fetched piece by piece, and whoever waits for long is told to write
# anything: test_wechat_official.py has these.
NOT_PASSIVELY = {
    "a_refusal_for_now_loses_nothing",
    "a_closed_window_drops_one_answer_only",
    "what_was_accepted_is_answered_after_a_crash",
    "answers_are_as_long_as_the_platform_allows",
    "a_reply_is_stopped_while_it_is_shown",
}


@pytest.mark.parametrize("platform", [Official, Application, PolledBot, ConnectedBot, Personal])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Any, platform: type[Any], tmp_path: Path) -> None:
    fake = platform()
    async with fake.running():
        await check(fake, tmp_path)


@pytest.mark.parametrize(
    "check", [each for each in CHECKS if each.__name__ not in NOT_PASSIVELY], ids=lambda check: check.__name__
)
async def test_contract_of_a_passive_account(check: Any, tmp_path: Path) -> None:
    # There a message is held back until WeChat gives up.
    soon = check.__name__.startswith(("it_ends", "what_is_kept"))
    fake = Subscription(0.2 if soon else 5.0)
    async with fake.running():
        await check(fake, tmp_path)
