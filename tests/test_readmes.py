"""The two READMEs say the same, and what they tell people to type exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import chain
from pathlib import Path

import click
import pytest

from chatgpt2.cli import COMMANDS, cli

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[str]:
    """The levels: #, ##, …"""
    return re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE)


def lines(language: str) -> list[str]:
    blocks = (body for kind, body in BLOCK.findall(ENGLISH) if kind == language)
    return [line for body in blocks for line in body.splitlines()]


TYPED = [line for line in lines("sh") + lines("powershell") if re.search(r"\bchatgpt2 [a-z]", line)]


def test_both_have_the_same_headings_and_the_same_code() -> None:
    assert headings(ENGLISH) == headings(CHINESE)
    assert BLOCK.findall(ENGLISH) == BLOCK.findall(CHINESE)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_what_they_link_to_is_there(text: str) -> None:
    targets = {target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target}
    missing = {target for target in targets if not (ROOT / target).exists()}
    assert not missing


def test_every_command_is_shown() -> None:
    assert all(any(f"chatgpt2 {name}" in line for line in TYPED) for name in COMMANDS)


@pytest.mark.parametrize("line", TYPED)
def test_what_one_is_told_to_type_is_understood(line: str) -> None:
    words = shlex.split(line.split("chatgpt2 ")[-1])
    command: click.Command | None = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    assert command is not None
    assert command.make_parser(context).parse_args(words)


def test_the_settings_shown_exist() -> None:
    text = "\n".join(lines("toml"))
    for table, values in tomllib.loads(text).items():
        command = cli.get_command(click.Context(cli), table)
        if isinstance(command, click.Group):
            (name, values), command = next(iter(values.items())), command
            command = command.commands[name]
        assert command is not None
        known = set(chain.from_iterable(parameter.opts for parameter in command.params))
        assert {f"--{key}" for key in values} <= known


def test_the_make_targets_shown_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", ENGLISH + CHINESE)) <= targets


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_the_routes_into_wechat_are_bots_that_exist(text: str) -> None:
    named = set(re.findall(r"`(we(?:chat|com)[a-z-]*)`", text))
    bots = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][
        "chatgpt2.bots"
    ]
    assert named == {name for name in bots if name.startswith("we") and name != "webhook"}
