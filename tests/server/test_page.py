"""The web page in a real browser."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from fakes.talking import Scripted
from serving import served

from chatgpt2.cli.keys import keys

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
browser_needed = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)

# Without these Chromium asks the world for updates.
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Server:
    """The service in a thread of its own, as the browser's driver blocks this one."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.engine = Scripted()
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

    def close(self) -> None:
        self.pause(False)
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        *QUIET,
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        "--window-size=1200,800",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


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

    def said(self) -> list[str]:
        return self.texts("#turns .said")

    def type(self, text: str) -> None:
        self.element("#text").send_keys(text)

    def wait(self, true: Callable[[], Any]) -> None:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.wait import WebDriverWait

        patient = WebDriverWait(self.driver, 10, 0.02, [StaleElementReferenceException])
        patient.until(lambda _: true())

    def complaints(self) -> list[Any]:
        """What the browser found wrong, refusals of the service aside."""
        return [
            each
            for each in self.driver.get_log("browser")
            if "Failed to load resource" not in each["message"]
        ]


@pytest.fixture
def page(chromium: Any, server: Server) -> Iterator[Page]:
    made = Page(chromium, server.url)
    yield made
    assert made.complaints() == []


@browser_needed
def test_a_conversation_is_had_and_found_again(page: Page, server: Server) -> None:
    server.engine.replies = ["你好呀", "很好"]
    page.type("你好\n")
    page.wait(lambda: page.said() == ["你好", "你好呀"])
    page.type("怎么样\n")
    page.wait(lambda: page.said()[2:] == ["怎么样", "很好"])
    page.wait(lambda: page.texts("#sessions button") == ["你好"])
    page.driver.refresh()
    page.wait(lambda: page.said() == ["你好", "你好呀", "怎么样", "很好"])
    page.click("#new")
    page.wait(lambda: page.said() == [])
    page.click("#sessions button")
    page.wait(lambda: len(page.said()) == 4)


@browser_needed
def test_a_reply_grows_and_can_be_stopped(page: Page, server: Server) -> None:
    server.pause(True)
    server.engine.replies = ["很长的故事"]
    page.type("讲个故事\n")
    page.wait(lambda: page.said() == ["讲个故事", "很"])
    assert not page.element("#send").is_displayed()
    page.click("#stop")
    page.wait(lambda: page.said() == [])
    assert page.element("#text").get_attribute("value") == "讲个故事"
    page.wait(lambda: server.engine.running == 0)
    server.pause(False)


@browser_needed
def test_the_last_exchange_is_made_anew(page: Page, server: Server) -> None:
    server.engine.replies = ["一", "二", "三"]
    page.type("数数\n")
    page.wait(lambda: page.said() == ["数数", "一"] and page.texts(".bot .tools button"))
    page.click(".bot .tools button:last-child")
    page.wait(lambda: page.said() == ["数数", "二"])
    page.wait(lambda: page.texts(".user .tools button"))
    page.click(".user .tools button")
    page.wait(lambda: page.said() == [] and page.element("#text").get_attribute("value") == "数数")
    page.type("吧\n")
    page.wait(lambda: page.said() == ["数数吧", "三"])


@browser_needed
def test_language_and_colours_are_kept(page: Page) -> None:
    theme = "return document.documentElement.dataset.theme"
    before = page.driver.execute_script(theme)
    page.click("#theme")
    assert page.driver.execute_script(theme) != before
    page.click("#language")
    page.wait(lambda: page.element("#send").text == "Send")
    page.driver.refresh()
    page.wait(lambda: page.element("#send").text == "Send")
    assert page.driver.execute_script(theme) != before
    page.click("#language")
    page.wait(lambda: page.element("#send").text == "发送")


@browser_needed
def test_where_a_key_is_asked_for_the_page_asks_once(chromium: Any, tmp_path: Path) -> None:
    from selenium.webdriver.support.expected_conditions import alert_is_present

    key = (
        CliRunner()
        .invoke(keys, ["create", "me", "--database", f"sqlite:///{tmp_path}/talk.db"])
        .stdout.strip()
    )
    server = Server(tmp_path, ask_for_keys=True)
    try:
        page = Page(chromium, server.url, wait=False)
        page.wait(lambda: alert_is_present()(chromium))
        chromium.switch_to.alert.send_keys(key)
        chromium.switch_to.alert.accept()
        page.wait(lambda: page.texts("#model") == ["小智"])
        page.type("你好\n")
        page.wait(lambda: page.said() == ["你好", "答1"])
        chromium.refresh()
        page.wait(lambda: page.said() == ["你好", "答1"])
    finally:
        server.close()


@browser_needed
def test_on_a_phone_the_list_slides_in(page: Page) -> None:
    page.driver.set_window_size(390, 800)
    page.wait(lambda: page.element("#menu").is_displayed())
    assert not page.element("#new").is_displayed()
    page.click("#menu")
    page.wait(lambda: page.element("#new").is_displayed())
    wider = "return document.documentElement.scrollWidth > innerWidth"
    assert not page.driver.execute_script(wider)


async def test_nothing_else_may_run_on_the_page(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        index = await http.get("/")
        assert "default-src 'self'" in index.headers["content-security-policy"]
        assert "<script>" not in index.text and "onclick" not in index.text and "http" not in index.text
        for name in ("chat.js", "chat.css", "words.js", "api.js", "icon.svg"):
            file = await http.get(f"/page/{name}")
            assert file.status_code == 200
            assert file.headers["x-content-type-options"] == "nosniff"
            assert "//" not in file.text.replace("http://www.w3.org", "").replace("// ", "")
