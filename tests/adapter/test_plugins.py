from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from installed import install

from chatgpt2.adapter import discover, find
from chatgpt2.cli.bots import bots
from chatgpt2.errors import AdapterError

GOOD = "def build(settings, services):\n    return settings\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    return site


def test_any_installed_package_can_bring_a_bot(site: Path) -> None:
    install(site, "good-bot-one", "1.2", GOOD, goodone="good_bot_one:build")
    plugin = next(each for each in discover() if each.name == "goodone")
    assert (plugin.package, plugin.version, plugin.problem) == ("good-bot-one", "1.2", None)
    build = find("goodone").build
    assert build is not None and build({"a": 1}, None) == {"a": 1}  # type: ignore[arg-type, comparison-overlap]


def test_bots_are_listed_with_what_a_broken_one_said(site: Path) -> None:
    install(site, "good-bot-two", "1.2", GOOD, goodtwo="good_bot_two:build")
    install(site, "bad-bot", "0.1", "import no_such_library\n", bad="bad_bot:build")
    install(site, "odd-bot", "0.2", "build = 3\n", odd="odd_bot:build", gone="odd_bot:nothing")
    install(site, "rude-bot", "0.3", "raise SystemExit('no')\n", rude="rude_bot:build")
    result = CliRunner().invoke(bots)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in result.output.splitlines()}
    assert lines["goodtwo"] == "good-bot-two 1.2"
    assert (
        lines["bad"] == "bad-bot 0.1 cannot be used: ModuleNotFoundError: No module named 'no_such_library'"
    )
    assert lines["odd"] == "odd-bot 0.2 cannot be used: odd_bot:build cannot be called"
    assert "AttributeError" in lines["gone"] and "SystemExit: no" in lines["rude"]


def test_a_bot_that_cannot_be_had_is_told_why(site: Path) -> None:
    install(site, "good-bot-six", "1.2", GOOD, pigeon="good_bot_six:build", twice="good_bot_six:build")
    install(site, "good-bot-ten", "1.2", GOOD, twice="good_bot_ten:build")
    install(site, "bad-bot-two", "0.1", "import no_such_library\n", crow="bad_bot_two:build")
    with pytest.raises(AdapterError, match="did you mean pigeon"):
        find("pidgeon")
    with pytest.raises(AdapterError, match="offered by good-bot-six and good-bot-ten"):
        find("twice")
    with pytest.raises(AdapterError, match="bad-bot-two cannot be used: ModuleNotFoundError"):
        find("crow")
