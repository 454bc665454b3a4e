"""docs/deploy says what the program understands: its commands, options, environment, folders and port."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from chatgpt2.cli import cli
from chatgpt2.cli.serve import serve

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
STEPS = re.findall(r"^([A-Z]+) (.*)$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((DEPLOY / "chatgpt2.service").read_text("utf-8"))
    return parser


def step(name: str) -> str:
    return next(rest for each, rest in STEPS if each == name)


def default(option: str) -> Any:
    return next(each.default for each in serve.params if each.name == option)


COMMANDS = {
    "image": json.loads(step("CMD")),
    "compose": [str(word) for word in COMPOSE["services"]["chat"]["command"]],
    "systemd": shlex.split(unit()["Service"]["ExecStart"])[1:],
}


@pytest.mark.parametrize("where", COMMANDS)
def test_what_is_started_is_understood(where: str) -> None:
    name, *words = COMMANDS[where]
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None and not command.make_parser(context).parse_args(words)[1]


def test_the_image_is_built_from_what_is_here() -> None:
    copied = {word for name, rest in STEPS if name == "COPY" for word in rest.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    needed = {folder.split("/")[0] for folder in PROJECT["tool"]["setuptools"]["package-dir"].values()}
    assert (
        needed | {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
        <= copied
    )
    allowed = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split() if line[0] == "!"
    }
    assert allowed == copied
    extras = {extra for _, rest in STEPS for extra in re.findall(r"'\.\[(\w+)\]'", rest)}
    assert extras and extras <= PROJECT["project"]["optional-dependencies"].keys()
    torch = re.search(r"torch==(\S+)", (DEPLOY / "Dockerfile").read_text("utf-8"))
    assert torch and f"torch=={torch[1]}" in (ROOT / "constraints.txt").read_text("utf-8")
    assert json.loads(step("ENTRYPOINT")) == list(PROJECT["project"]["scripts"])


def test_the_environment_is_one_that_the_program_reads() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "chatgpt2" / "cli").glob("*.py"))
    text = "".join(path.read_text("utf-8") for path in DEPLOY.iterdir())
    names = set(re.findall(r"CHATGPT2_[A-Z_]+", text))
    assert "CHATGPT2_HOME" in names and all(f'"{name}"' in sources for name in names)


def test_folders_and_ports_fit_one_another() -> None:
    chat, proxy = COMPOSE["services"]["chat"], COMPOSE["services"]["proxy"]
    volumes = json.loads(step("VOLUME"))
    assert [volume.replace(":ro", "").rpartition(":")[2] for volume in chat["volumes"]] == volumes[::-1]
    assert step("ENV") == f"CHATGPT2_HOME={volumes[0]}"
    port = default("port")
    assert step("EXPOSE") == str(port) and proxy["ports"] == [f"{port}:{port}"]
    assert f"--to chat:{port}" in proxy["command"]
    build = (DEPLOY / chat["build"]["context"]).resolve()
    assert build == ROOT and (build / chat["build"]["dockerfile"]).is_file()
    named = {
        volume.split(":")[0] for each in COMPOSE["services"].values() for volume in each.get("volumes", ())
    }
    assert {name for name in named if not name.startswith("$")} == COMPOSE["volumes"].keys()
    service = unit()["Service"]
    assert service["Environment"] == f"CHATGPT2_HOME=/var/lib/{service['StateDirectory']}"


def test_running_replies_can_end_before_anybody_loses_patience() -> None:
    patience = [
        unit()["Service"]["TimeoutStopSec"],
        COMPOSE["services"]["chat"]["stop_grace_period"].rstrip("s"),
    ]
    assert all(int(seconds) > default("grace") for seconds in patience)
