"""A contract that every adapter keeps, as checks to run on yours against a fake of its platform.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check, tmp_path):
        asyncio.run(check(MyFake(), tmp_path))

Each check runs your adapter under the real gateway, on a real database, with a model that says what it is told to.
"""

from __future__ import annotations

from chatgpt2.adapter.testing.checks import CHECKS
from chatgpt2.adapter.testing.driving import Process, Speaker, answer_to, process
from chatgpt2.adapter.testing.platform import Call, Platform, Refusal

__all__ = ["CHECKS", "Call", "Platform", "Process", "Refusal", "Speaker", "answer_to", "process"]
