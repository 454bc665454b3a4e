"""The contract that every adapter keeps, held against WeChat's and WeCom's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.platforms import Application, ConnectedBot, Official, Personal, PolledBot

from chatgpt2.adapter.testing import CHECKS


@pytest.mark.parametrize("platform", [Official, Application, PolledBot, ConnectedBot, Personal])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Any, platform: type[Any], tmp_path: Path) -> None:
    fake = platform()
    async with fake.running():
        await check(fake, tmp_path)
