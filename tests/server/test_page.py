"""The chat page in a real browser."""

from __future__ import annotations

import ast
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
from browser import Page, Server, browser_needed
from click.testing import CliRunner
from fakes.talking import Scripted
from serving import served

from chatgpt2.cli.keys import keys


@browser_needed
def test_a_conversation_is_had_and_found_again(page: Page, server: Server) -> None:
    server.engine.replies = ["你好呀", "很好"]
    page.type("你好\n")
    page.wait(lambda: page.said() == ["你好", "你好呀"])
    page.type("怎么样\n")
    page.wait(lambda: page.said()[2:] == ["怎么样", "很好"])
    page.wait(lambda: page.texts("#sessions button") == ["你好"])
    page.reload()
    page.wait(lambda: page.said() == ["你好", "你好呀", "怎么样", "很好"])
    page.click("#new")
    page.wait(lambda: page.said() == [])
    page.click("#sessions button")
    page.wait(lambda: len(page.said()) == 4)


@browser_needed
def test_a_reply_can_be_copied(page: Page, server: Server) -> None:
    allowed = {"origin": server.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
    server.engine.replies = ["一字不差 <b>&amp;\n第二行"]
    page.type("念一段\n")
    page.wait(lambda: page.texts(".bot .tools"))
    page.click(".bot [aria-label=复制]")
    page.wait(lambda: page.texts(".bot [aria-label=复制]") == ["已复制"])
    read = (
        "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    )
    assert page.driver.execute_async_script(read) == "一字不差 <b>&amp;\n第二行"


@browser_needed
def test_earlier_sessions_are_listed_when_one_asks_for_more(page: Page, server: Server) -> None:
    for number in range(52):
        httpx.post(f"{server.url}/api/sessions", json={"title": str(number)}).raise_for_status()
    page.reload()
    page.wait(lambda: page.texts("#sessions button")[-2:] == ["2", "更多"])
    page.click("#sessions li:last-child button")
    page.wait(lambda: page.texts("#sessions button")[-3:] == ["2", "1", "0"])
    assert len(page.texts("#sessions button")) == 52


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
    page.wait(lambda: page.said() == ["数数", "一"] and page.texts(".bot .tools"))
    page.click(".bot [aria-label=重答]")
    page.wait(lambda: page.said() == ["数数", "二"] and page.texts(".bot .tools"))
    page.click(".user [aria-label=修改]")
    assert page.element("#text").get_attribute("value") == "数数"
    page.type("吧\n")
    page.wait(lambda: page.said() == ["数数吧", "三"])


@browser_needed
def test_an_earlier_question_is_asked_differently_or_left_as_it_is(page: Page, server: Server) -> None:
    server.engine.replies = ["一", "二", "三", "四"]
    for count, text in enumerate(("甲", "乙", "丙"), 1):
        page.type(f"{text}\n")
        page.wait(lambda count=count: len(page.texts(".bot .tools")) == count)
    page.click("li:nth-child(3) [aria-label=修改]")
    assert len(page.texts("#turns .leaving")) == 4
    page.click("#unedit")
    assert page.element("#text").get_attribute("value") == "" and not page.texts("#turns .leaving")
    page.click("li:nth-child(3) [aria-label=修改]")
    page.type("？\n")
    page.wait(lambda: page.said() == ["甲", "一", "乙？", "四"])
    assert server.engine.asked[-1][0] == "甲|一|乙？"
    page.reload()
    page.wait(lambda: page.said() == ["甲", "一", "乙？", "四"])


@browser_needed
def test_language_and_colours_are_kept(page: Page) -> None:
    theme = "return document.documentElement.dataset.theme"
    before = page.driver.execute_script(theme)
    page.click("#theme")
    assert page.driver.execute_script(theme) != before
    page.click("#language")
    page.wait(lambda: page.element("#send").text == "Send")
    page.reload()
    page.wait(lambda: page.element("#send").text == "Send")
    assert page.driver.execute_script(theme) != before
    page.click("#language")
    page.wait(lambda: page.element("#send").text == "发送")


@browser_needed
def test_where_a_key_is_asked_for_the_page_asks_once(chromium: Any, tmp_path: Path) -> None:
    key = (
        CliRunner()
        .invoke(keys, ["create", "me", "--database", f"sqlite:///{tmp_path}/talk.db"])
        .stdout.strip()
    )
    server = Server(tmp_path, ask_for_keys=True)
    try:
        page = Page(chromium, server.url, wait=False)
        page.wait(lambda: page.element(".ask input").is_displayed())
        page.element(".ask input").send_keys(f"{key}\n")
        page.wait(lambda: page.texts("#model") == ["小智"])
        page.type("你好\n")
        page.wait(lambda: page.said() == ["你好", "答1"])
        page.reload()
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
    assert page.fits()


@browser_needed
def test_a_session_is_renamed_cleared_and_deleted(page: Page) -> None:
    page.type("你好\n")
    page.wait(lambda: page.said() == ["你好", "答1"] and page.texts("#sessions button") == ["你好"])
    page.choose("#rename")
    page.element(".ask input").send_keys("闲聊\n")
    page.wait(lambda: page.texts("#sessions button") == ["闲聊"] and page.element("#title").text == "闲聊")
    page.choose("#clear")
    page.click(".ask .main")
    page.wait(lambda: page.said() == [])
    page.choose("#delete")
    page.click(".ask .answers button")
    page.wait(lambda: not page.texts(".ask"))
    assert page.texts("#sessions button") == ["闲聊"]
    page.choose("#delete")
    page.click(".ask .main")
    page.wait(lambda: page.texts("#sessions button") == [])


@browser_needed
def test_a_suggestion_begins_a_conversation(page: Page) -> None:
    first = page.texts("#welcome button")[0]
    page.click("#welcome button")
    page.wait(lambda: page.said() == [first, "答1"])
    assert not page.element("#welcome").is_displayed()


@browser_needed
def test_everything_is_done_with_the_keyboard(page: Page, server: Server) -> None:
    from selenium.webdriver.common.keys import Keys

    page.type("你好\n")
    page.wait(lambda: page.texts(".bot .tools"))
    page.type(Keys.ARROW_UP)
    assert page.element("#text").get_attribute("value") == "你好"
    page.press(Keys.ESCAPE)
    assert page.element("#text").get_attribute("value") == ""
    server.pause(True)
    page.type("再来\n")
    page.wait(lambda: len(page.said()) == 4)
    page.press(Keys.ESCAPE)
    page.wait(lambda: len(page.said()) == 2)
    server.pause(False)
    page.press(Keys.CONTROL, "/")
    page.wait(lambda: "新会话" in page.element("#shortcuts").text)
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.element("#shortcuts").is_displayed())
    page.press(Keys.ALT, "p")
    page.wait(lambda: page.element("#drawer").is_displayed())
    page.press(Keys.ESCAPE)
    page.press(Keys.ALT, "n")
    page.wait(lambda: page.said() == [])
    page.driver.execute_script("document.activeElement.blur()")
    page.press(Keys.ALT, "m")
    assert page.driver.switch_to.active_element == page.element("#text")


@browser_needed
def test_who_reads_further_up_is_not_pulled_down(page: Page, server: Server) -> None:
    server.engine.replies = ["长\n" * 60, "短"]
    page.type("说\n")
    page.wait(lambda: page.texts(".bot .tools"))
    gap = "const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight"
    page.wait(lambda: page.driver.execute_script(gap) < 5)
    server.pause(True)
    page.type("再说\n")
    page.wait(lambda: page.said()[3:] == ["短"])
    page.driver.execute_script("document.getElementById('scroll').scrollTop = 0")
    page.wait(lambda: page.element("#end").is_displayed())
    server.pause(False)
    page.wait(lambda: len(page.texts(".bot .tools")) == 2)
    assert page.driver.execute_script("return document.getElementById('scroll').scrollTop") == 0
    page.click("#end")
    page.wait(lambda: page.driver.execute_script(gap) < 5)


@browser_needed
def test_a_command_is_done_and_no_part_of_the_conversation(page: Page) -> None:
    page.type("你好\n")
    page.wait(lambda: page.said() == ["你好", "答1"])
    page.type("/help\n")
    page.wait(lambda: len(page.texts("#turns .aside")) == 2)
    assert page.said()[:3] == ["你好", "答1", "/help"] and "/reset" in page.said()[3]
    page.type("／重置\n")
    page.wait(lambda: page.said()[:1] == ["／重置"] and len(page.texts("#turns .aside")) == 2)
    page.reload()
    page.wait(lambda: page.element("#welcome").is_displayed())


@browser_needed
def test_what_did_not_get_through_is_said_once_it_can_be(page: Page, server: Server) -> None:
    server.busy(True)
    page.type("你好\n")
    page.wait(lambda: "太忙" in page.element("#notice").text)
    assert page.said() == [] and page.element("#text").get_attribute("value") == "你好"
    server.busy(False)
    page.wait(lambda: page.said() == ["你好", "答1"])  # by itself, after Retry-After
    assert page.element("#notice").text == ""


@browser_needed
def test_why_the_service_refuses_is_said_in_the_language_of_the_page(page: Page, server: Server) -> None:
    page.type("你好\n")
    page.wait(lambda: page.said() == ["你好", "答1"] and page.texts("#sessions button"))
    (session,) = httpx.get(f"{server.url}/api/sessions").json()
    httpx.delete(f"{server.url}/api/sessions/{session['id']}")
    page.type("在吗\n")
    page.wait(lambda: "这个会话已经不在了。" in page.element("#notice").text)
    page.driver.get(f"{server.url}/admin")
    page.wait(lambda: page.element("#reload").is_displayed())
    page.click("#reload")
    page.click("dialog.ask .main")  # there is no model to load
    page.wait(lambda: "模型没有换成，仍用原来的。" in page.element("#told").text)


def test_every_refusal_has_words_in_both_languages() -> None:
    folder = resources.files("chatgpt2.server")
    trees = [ast.parse(file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = [each.args for each in calls if isinstance(each.func, ast.Name) and each.func.id == "Fault"]
    parts = [part for args in given for each in args[2:3] for part in ast.walk(each)]
    codes = {part.value for part in parts if isinstance(part, ast.Constant)} - {"window"}
    words = (folder / "page" / "words.js").read_text("utf-8").split("refusals: {")[1:]
    wordless = {code for code in codes if not all(f" {code}: " in each for each in words)}
    # The page asks for a key itself, and writes good JSON.
    assert len(words) == 2 and wordless == {"missing_api_key", "invalid_api_key", "invalid_json"}


@browser_needed
def test_a_lost_connection_is_told_and_tried_again(page: Page) -> None:
    page.online(False)
    page.type("你好\n")
    page.wait(lambda: "连不上" in page.element("#notice").text)
    page.online(True)
    page.click("#notice button")
    page.wait(lambda: page.said() == ["你好", "答1"])


@browser_needed
def test_a_screen_reader_hears_the_reply_once_it_is_whole(page: Page, server: Server) -> None:
    server.pause(True)
    server.engine.replies = ["你好呀"]
    page.type("你好\n")
    heard = "return document.getElementById('heard').textContent"
    page.wait(lambda: page.said()[1:] == ["你"])
    assert page.driver.execute_script(heard) == "正在回答……"
    server.pause(False)
    page.wait(lambda: page.driver.execute_script(heard) == "机器人: 你好呀")


async def test_nothing_else_may_run_on_the_pages(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        for path in ("/", "/admin"):
            page = await http.get(path)
            assert "default-src 'self'" in page.headers["content-security-policy"]
            assert "<script>" not in page.text and "style=" not in page.text
            assert " on" not in page.text and "http" not in page.text
        names = [each.name for each in resources.files("chatgpt2.server.page").iterdir()]
        for name in (name for name in names if name.endswith((".js", ".css", ".svg"))):
            file = await http.get(f"/page/{name}")
            assert file.status_code == 200
            assert file.headers["x-content-type-options"] == "nosniff"
            assert "//" not in file.text.replace("http://www.w3.org", "").replace("// ", "")
