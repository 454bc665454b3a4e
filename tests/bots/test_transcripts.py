"""The conversations of docs/transcripts.md, with a model that is trained in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.transcript import PARTS, Part, converse, paper

from chatgpt2.engine.base import EngineOptions
from chatgpt2.gateway.rules import NOTICE
from chatgpt2.loading import open_model
from chatgpt2.serving import Serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def serving(dialogue_model: Path) -> Iterator[Serving]:
    return open_model(dialogue_model, EngineOptions("pytorch", device="cpu", threads=1), dialogue_model)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.title)
async def test_on_every_platform_people_are_answered(part: Part, serving: Serving, tmp_path: Path) -> None:
    heard = await converse(part, serving, tmp_path, {"temperature": 0, "max_new_tokens": 20})
    unanswered = [each.act.how for each in heard if not each.answers]
    assert set(unanswered) <= {"chatter", "like"}
    assert heard[0].answers[0].startswith(NOTICE) and not heard[1].answers[0].startswith(NOTICE)
    assert {each.verdict for each in heard if each.act.how == "like"} <= {"up"}
    printed = paper(heard, set())
    assert printed.count("用户") + printed.count("旁人") >= len(heard)


def test_the_document_has_every_platform() -> None:
    document = (ROOT / "docs" / "transcripts.md").read_text(encoding="utf-8")
    for part in PARTS:
        assert (
            f"## {part.title}\n\n{part.shows}\n\n```text\n用户：{part.acts[0].text}\n机器人：{NOTICE}\n"
            in document
        )
