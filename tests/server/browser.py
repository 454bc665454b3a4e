"""A real browser and a real server, for the tests of the pages."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.talking import Scripted
from serving import served

from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.errors import EngineBusy

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
browser_needed = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)

# Without these Chromium asks the world for updates.
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Refusing(Scripted):
    """An engine that can be full."""

    full = False

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
        if self.full:
            raise EngineBusy("the engine is busy")
        async with aclosing(super().generate(prompt_ids, params)) as steps:
            async for step in steps:
                yield step


class Server:
    """The service in a thread of its own, as the browser's driver blocks this one."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.engine = Refusing()
        self._options = options
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder, ready))
        self._thread.start()
        ready.wait(20)

    def _run(self, folder: Path, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(folder, ready))

    async def _serve(self, folder: Path, ready: threading.Event) -> None:
        async with served(folder, self.engine, **self._options) as self.url:
            ready.set()
            await self._stop.wait()

    def pause(self, on: bool) -> None:
        """Let replies stand still after each letter, or go on."""

        def act() -> None:
            if on:
                self.engine.pause = asyncio.Event()
            elif self.engine.pause is not None:
                self.engine.pause.set()

        self._loop.call_soon_threadsafe(act)

    def say(self, text: str) -> None:
        """Somebody else says something, and does not wait for the answer."""
        asked = {"model": "小智", "messages": [{"role": "user", "content": text}]}

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=self.url) as http:
                await http.post("/v1/chat/completions", json=asked)

        asyncio.run_coroutine_threadsafe(ask(), self._loop)

    def busy(self, on: bool) -> None:
        """Let the engine refuse, or take what comes."""
        self._loop.call_soon_threadsafe(setattr, self.engine, "full", on)

    def close(self) -> None:
        self.pause(False)
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


class Page:
    """What a person does and sees."""

    def __init__(self, driver: Any, url: str, wait: bool = True) -> None:
        self.driver = driver
        driver.set_window_size(1200, 800)
        driver.get(url)
        if wait:
            self.wait(lambda: self.element("#title").text)

    def element(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """All at once: the page may be drawn anew at any time."""
        gather = "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText)"
        found: list[str] = self.driver.execute_script(gather, selector)
        return found

    def click(self, selector: str) -> None:
        self.wait(lambda: self.element(selector).click() is None)

    def choose(self, selector: str) -> None:
        """Something of the menu that the three dots open."""
        self.click("#more")
        self.click(selector)

    def press(self, *keys: str) -> None:
        """The last key, while those before it are held, wherever the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        hands = ActionChains(self.driver)
        for key in keys[:-1]:
            hands.key_down(key)
        hands.send_keys(keys[-1])
        for key in keys[:-1]:
            hands.key_up(key)
        hands.perform()

    def online(self, on: bool) -> None:
        """Whether the browser reaches the service."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        cut = {"offline": not on, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", cut)

    def said(self) -> list[str]:
        return self.texts("#turns .said")

    def type(self, text: str) -> None:
        """Into the message field, once the reply before is finished: until then Enter sends nothing."""
        self.wait(lambda: self.element("#send").is_displayed())
        self.element("#text").send_keys(text)

    def reload(self) -> None:
        """Once the reply is stored: who leaves before that has said nothing."""
        self.wait(lambda: self.element("#send").is_displayed())
        self.driver.refresh()

    def wait(self, true: Callable[[], Any]) -> None:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.wait import WebDriverWait

        patient = WebDriverWait(self.driver, 10, 0.02, [StaleElementReferenceException])
        patient.until(lambda _: true())

    def fits(self) -> bool:
        """Whether nothing is wider than the screen."""
        wider = "return document.documentElement.scrollWidth > innerWidth"
        return not self.driver.execute_script(wider)

    def complaints(self) -> list[Any]:
        """What the browser found wrong, refusals of the service aside."""
        return [
            each
            for each in self.driver.get_log("browser")
            if "Failed to load resource" not in each["message"]
        ]

    def serious(self) -> list[str]:
        """What axe-core finds on the page that keeps somebody out."""
        axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
        self.driver.execute_script(axe)
        # What is fading in is looked at when it is there.
        look = "const done = arguments[0]; axe.run().then((found) => done(found.violations))"
        return [
            f"{each['id']} ({each['impact']}): {[node['target'] for node in each['nodes']]}"
            for each in self.driver.execute_async_script(look)
            if each["impact"] in ("serious", "critical")
        ]
