"""Nobody is kept out: axe-core looks at both pages, light and dark, with everything open that can be."""

from __future__ import annotations

import pytest
from browser import Page, Server, browser_needed


def dressed(page: Page, theme: str) -> Page:
    page.driver.execute_script("localStorage.setItem('theme', arguments[0]); location.reload()", theme)
    page.wait(lambda: page.driver.execute_script("return document.documentElement.dataset.theme") == theme)
    return page


@browser_needed
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_chat_keeps_nobody_out(page: Page, theme: str) -> None:
    dressed(page, theme)
    page.wait(lambda: page.texts("#welcome button") and page.texts("#model") == ["小智"])
    assert page.serious() == []
    page.type("你好\n")
    page.wait(lambda: page.texts(".bot .tools") and page.texts("#sessions button"))
    page.click("[data-verdict=down]")
    page.wait(lambda: page.element(".why").is_displayed())
    assert page.serious() == []
    page.click("#settings")
    page.wait(lambda: page.element("#drawer").is_displayed())
    for line in page.driver.find_elements("css selector", ".pair textarea"):
        line.send_keys("开场")
    assert page.serious() == []
    page.click("#drawer .main")
    page.wait(lambda: len(page.texts(".opening")) == 2)
    assert page.serious() == []
    page.choose("#rename")
    page.wait(lambda: page.element(".ask").is_displayed())
    assert page.serious() == []
    page.click(".ask .answers button")
    page.click("#keyboard")
    page.wait(lambda: page.element("#shortcuts").is_displayed())
    assert page.serious() == []
    page.click("#shortcuts button")
    page.click(".user [aria-label=修改]")
    assert page.serious() == []


@browser_needed
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_operations_keep_nobody_out(page: Page, server: Server, theme: str) -> None:
    page.type("你好\n")
    page.wait(lambda: page.said() == ["你好", "答1"])
    page.driver.get(f"{server.url}/admin")
    dressed(page, theme)
    page.wait(lambda: page.texts("#latest tbody td"))
    assert page.serious() == []


@browser_needed
def test_a_phone_keeps_nobody_out(page: Page) -> None:
    page.driver.set_window_size(500, 844)
    page.type("你好\n")
    page.wait(lambda: page.texts(".bot .tools") and page.texts("#sessions button"))
    page.click("#menu")
    page.wait(lambda: page.element("#new").is_displayed())
    assert page.serious() == []
