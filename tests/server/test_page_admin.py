"""The operations page in a real browser, and what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Page, Server, browser_needed
from fakes.talking import Scripted
from serving import served

from chatgpt2.card import Card
from chatgpt2.store import Feedback, SessionKey, SessionStore


def checkpoint(folder: Path) -> Path:
    """What a training leaves behind, without its weights."""
    folder.mkdir()
    training = {"size": "tiny", "steps": 1000, "tokens": 5000, "seconds": 12.5}
    Card(training=training, metrics={"perplexity": 20.5}).write(folder)
    steps = [{"step": step, "loss": 6.0 - step / 250} for step in range(1, 1001)]
    held_out = [{"step": step, "eval_loss": 5.0} for step in (500, 1000)]
    lines = [json.dumps(each) for each in (*steps, *held_out)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 10', encoding="utf-8")
    return folder


async def test_an_operator_sees_the_service_and_nothing_of_what_was_said(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted("秘密的回答")) as url, httpx.AsyncClient(base_url=url) as http:
        session = (await http.post("/api/sessions", json={"title": "秘密"})).json()["id"]
        await http.post("/api/sessions", json={"title": "空的"})
        await http.post(f"/api/sessions/{session}/messages", json={"text": "秘密的话"})
        async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
            await Feedback(store).give(SessionKey("web", chat=session), "down", "答非所问")
        answer = await http.get("/api/admin")
        model = (await http.get("/api/model")).json()
    told = answer.json()
    assert "秘密" not in answer.text and session not in answer.text
    assert told["model"] == model and model["name"] == "小智" and model["sampling"]["temperature"] == 0.8
    assert told["load"] | {"seconds": 0} == {
        "running": 0, "waiting": 0, "refused": 0, "prompt_tokens": 4, "reply_tokens": 5, "seconds": 0
    }  # fmt: skip
    assert (told["sessions"]["count"], told["sessions"]["today"]) == (2, 2)
    latest = told["sessions"]["latest"][0]
    assert (latest["platform"], latest["id"], latest["turns"]) == ("web", session[:8], 2)
    opinion = told["feedback"][0]
    assert (opinion["verdict"], opinion["text"], opinion["id"]) == ("down", "答非所问", session[:8])


async def test_curves_of_a_long_training_fit_a_screen(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "model")
    async with (
        served(tmp_path, Scripted(), kind="pytorch", source=source) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        told = (await http.get("/api/admin/training")).json()
    assert told["facts"]["size"] == "tiny" and told["metrics"] == {"perplexity": 20.5}
    assert told["held_out"] == [{"step": 500, "loss": 5.0}, {"step": 1000, "loss": 5.0}]
    assert len(told["loss"]) == 334 and told["loss"][0] == {"step": 3, "loss": pytest.approx(6.0 - 2 / 250)}
    assert told["loss"][-1] == {"step": 1000, "loss": pytest.approx(2.0, abs=0.01)}


async def test_a_model_from_elsewhere_has_no_curve(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        told = (await http.get("/api/admin/training")).json()
    assert told == {"facts": {}, "metrics": {}, "loss": [], "held_out": []}


@pytest.mark.parametrize("path", ["/api/admin", "/api/admin/training", "/api/model"])
async def test_where_keys_are_asked_for_these_ask_too(path: str, tmp_path: Path) -> None:
    async with (
        served(tmp_path, Scripted(), ask_for_keys=True) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        assert (await http.get("/admin")).status_code == 200
        assert (await http.get(path)).status_code == 401


@browser_needed
def test_load_sessions_and_curves_are_shown(chromium: Any, tmp_path: Path) -> None:
    server = Server(tmp_path, kind="openvino", source=checkpoint(tmp_path / "model"))
    try:
        page = Page(chromium, server.url)
        page.type("秘密\n")
        page.wait(lambda: page.said() == ["秘密", "答1"])
        chromium.get(f"{server.url}/admin")
        page.wait(lambda: "openvino" in page.element("#model").text)
        page.wait(lambda: page.texts("#latest tbody td")[1:3] == ["2", "web"])
        assert "秘密" not in page.element("body").text
        page.wait(lambda: len(chromium.find_elements("css selector", "#curve polyline")) == 2)
        picture = page.element("#curve svg")
        assert picture.get_attribute("aria-label") == "训练损失: 最后 2; 留出集损失: 最后 5"
        assert "20.5" in page.element("#training").text
        server.pause(True)
        server.say("你好")
        page.wait(lambda: page.element("#load dd").text == "1")
        server.pause(False)
        page.wait(lambda: page.element("#load dd").text == "0")
        page.click("#language")
        page.wait(lambda: "Operations" in page.element("h1").text)
        assert page.complaints() == []
    finally:
        server.close()


@browser_needed
def test_a_phone_shows_it_all(page: Page, server: Server) -> None:
    page.driver.set_window_size(500, 900)
    page.driver.get(f"{server.url}/admin")
    page.wait(lambda: "小智" in page.element("#model").text)
    assert page.fits()
