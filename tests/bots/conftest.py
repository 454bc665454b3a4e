from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fakes.telegram import GROUP, XIAOMING, FakeTelegram


@pytest.fixture
async def fake() -> AsyncIterator[FakeTelegram]:
    """Telegram, with one person who has pressed Start and one group."""
    async with FakeTelegram().running() as fake:
        fake.person(XIAOMING)
        fake.group(GROUP)
        yield fake
