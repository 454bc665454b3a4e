from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes.platforms import TELEGRAM_WEBHOOK, Telegram
from fakes.telegram import FakeTelegram

from chatgpt2.adapter.testing import CHECKS, Platform


@pytest.mark.parametrize("settings", [{}, {"webhook-url": TELEGRAM_WEBHOOK}], ids=["polling", "webhook"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_the_contract_is_kept(
    check: Callable[[Platform, Path], Awaitable[None]], settings: dict[str, str], tmp_path: Path
) -> None:
    async with FakeTelegram(sees_all=True).running() as fake:
        await check(Telegram(fake, **settings), tmp_path)
