"""How replies are chosen, how a conversation opens, and what people think of replies: in a real browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

from browser import Page, Server, browser_needed

from chatgpt2.store import Feedback, Opinion, SessionStore


def settings(page: Page) -> None:
    page.wait(lambda: page.texts("#model") == ["小智"])
    page.click("#settings")
    page.wait(lambda: page.element("#drawer").is_displayed())


def save(page: Page) -> None:
    page.click("#drawer .main")
    page.wait(lambda: not page.element("#drawer").is_displayed())


def slide(page: Page, name: str, *keys: str) -> None:
    page.element(f"#set-{name}").send_keys(*keys)


def opinions(folder: Path) -> list[Opinion]:
    async def read() -> list[Opinion]:
        async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store:
            return await Feedback(store).recent(10)

    return asyncio.run(read())


@browser_needed
def test_a_session_has_settings_of_its_own(page: Page, server: Server) -> None:
    from selenium.webdriver.common.keys import Keys

    settings(page)  # before anything is said
    slide(page, "temperature", Keys.HOME)
    save(page)
    page.type("你好\n")
    page.wait(lambda: page.said() == ["你好", "答1"])
    assert server.engine.asked[-1][1].temperature == 0
    page.reload()
    page.wait(lambda: page.said() == ["你好", "答1"])
    settings(page)
    assert page.texts("#drawer output")[0] == "0"
    slide(page, "max_new_tokens", Keys.HOME)
    slide(page, "top_p", Keys.HOME)
    save(page)
    page.type("再说\n")
    page.wait(lambda: page.said()[2:] == ["再说", "答2"])
    params = server.engine.asked[-1][1]
    assert (params.temperature, params.top_p, params.max_new_tokens) == (0, 0.05, 8)
    settings(page)
    page.click("#drawer .answers button")  # back to the defaults
    page.wait(lambda: not page.element("#drawer").is_displayed())
    page.type("又说\n")
    page.wait(lambda: page.said()[4:] == ["又说", "答3"])
    assert server.engine.asked[-1][1].temperature == 0.8


@browser_needed
def test_a_persona_opens_the_conversation(page: Page, server: Server) -> None:
    settings(page)
    page.element(".pair textarea").send_keys("你是谁")
    page.click("#drawer .main")
    page.wait(lambda: "一组要有两句" in page.element("#drawer .bad").text)
    page.element(".pair textarea:nth-of-type(2)").send_keys("我是船长")
    save(page)
    assert page.texts("#turns .opening .said") == ["你是谁", "我是船长"]
    page.type("去哪\n")
    page.wait(lambda: page.said()[2:] == ["去哪", "答1"])
    assert server.engine.asked[-1][0] == "你是谁|我是船长|去哪"
    page.reload()
    page.wait(lambda: page.said() == ["你是谁", "我是船长", "去哪", "答1"])
    settings(page)
    page.click(".pair button")
    save(page)
    page.wait(lambda: page.said() == ["去哪", "答1"])


@browser_needed
def test_a_persona_that_the_model_cannot_take_is_told(page: Page) -> None:
    settings(page)
    write = "for (const each of document.querySelectorAll('.pair textarea')) each.value = '长'.repeat(900)"
    page.driver.execute_script(write)
    save(page)
    page.type("你好\n")
    page.wait(lambda: "too long" in page.element("#notice").text)
    assert page.element("#text").get_attribute("value") == "你好" and page.texts("#sessions button") == []
    settings(page)
    page.driver.execute_script("document.querySelector('.pair button').click()")
    save(page)
    page.type("\n")
    page.wait(lambda: page.said() == ["你好", "答1"])
    settings(page)
    page.driver.execute_script(write)
    page.click("#drawer .main")
    page.wait(lambda: "too long" in page.element("#drawer .bad").text)


@browser_needed
def test_a_reply_is_judged_and_the_judgement_kept(page: Page, tmp_path: Path) -> None:
    page.type("你好\n")
    page.click("[data-verdict=up]")
    pressed = "return [...document.querySelectorAll('[data-verdict]')].map((e) => e.ariaPressed)"
    page.wait(lambda: page.driver.execute_script(pressed) == ["true", "false"])
    page.reload()
    page.wait(lambda: page.driver.execute_script(pressed) == ["true", "false"])
    page.click("[data-verdict=down]")
    page.wait(lambda: page.element(".why input").is_displayed())
    page.element(".why input").send_keys("答非所问\n")
    page.wait(lambda: "谢谢" in page.element(".why").text)
    assert page.driver.execute_script(pressed) == ["false", "true"]
    assert [(each.verdict, each.text) for each in opinions(tmp_path)] == [("down", "答非所问")]
    page.click("[data-verdict=down]")
    page.wait(lambda: page.driver.execute_script(pressed) == ["false", "false"])
    assert opinions(tmp_path) == []
