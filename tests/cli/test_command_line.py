from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from chatgpt2 import __version__
from chatgpt2.cli import COMMANDS, cli, main
from chatgpt2.cli.home import data_folder

HEAVY = (
    *("torch", "transformers", "tokenizers", "peft", "numpy", "sqlalchemy", "alembic", "rich"),
    *("prompt_toolkit", "matplotlib", "regex", "psutil", "chatgpt2.chat", "chatgpt2.training"),
)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "chatgpt2", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


def imported(code: str) -> set[str]:
    """The heavy modules that are loaded after running `code` in a fresh interpreter."""
    program = f"import sys, json\n{code}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=120, check=True
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What `chatgpt2 chat` was given; nothing is loaded."""
    options: dict[str, object] = {}
    command = cli.get_command(click.Context(cli), "chat")
    assert command is not None
    monkeypatch.setattr(command, "callback", lambda **given: options.update(given))
    return options


def chat(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["chatgpt2", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)


def write_config(text: str) -> Path:
    path = data_folder() / "chatgpt2.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_help_imports_nothing_heavy() -> None:
    code = "from chatgpt2.cli import cli\ncli.main(['--help'], standalone_mode=False)"
    assert imported(code) == set()


def test_the_help_of_each_command_does_not_wait_for_torch() -> None:
    code = "from chatgpt2.cli import COMMANDS, cli\n"
    code += "for name in COMMANDS: cli.main([name, '--help'], standalone_mode=False)"
    assert imported(code).isdisjoint({"torch", "transformers", "peft", "sqlalchemy", "alembic", "matplotlib"})


def test_help_lists_every_command_and_each_has_its_own() -> None:
    shown = run("--help").stdout
    assert all(f"  {name} " in shown for name in COMMANDS)
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name


def test_the_version_is_told() -> None:
    assert run("--version").stdout.strip() == f"chatgpt2, version {__version__}"


@pytest.mark.parametrize(
    ("typed", "meant"), [("caht", "chat"), ("train", "train-dialog"), ("dotcor", "doctor")]
)
def test_a_mistyped_command_is_guessed(typed: str, meant: str) -> None:
    result = run(typed)
    assert result.returncode == 2
    assert f"Did you mean {meant}?" in result.stderr


def test_an_unknown_command_points_to_the_help() -> None:
    result = run("xyzzy")
    assert result.returncode == 2
    assert "`chatgpt2 --help` lists the commands" in result.stderr


def test_a_foreseen_error_is_one_line_and_status_2() -> None:
    for arguments in (
        ("chat", "--once", "你好"),
        ("vocabulary", "show", "./no"),
        ("corpus", "check", "./no"),
    ):
        result = run(*arguments)
        assert result.returncode == 2, result
        assert result.stderr.startswith("Error: ")
        assert len(result.stderr.splitlines()) == 1


def test_the_status_of_a_command_is_the_programs(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    result = run("corpus", "check", str(tmp_path / "empty.txt"), "--json")
    assert (result.returncode, json.loads(result.stdout)["total"]["dialogues"]) == (1, 0)


def test_an_unforeseen_error_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(cli, "main", broken)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: by zero" in said
    assert "CHATGPT2_DEBUG=1" in said
    monkeypatch.setenv("CHATGPT2_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main()


def test_a_reader_that_leaves_is_no_error() -> None:
    program = f"{sys.executable} -m chatgpt2 vocabulary show --json | head -c 1"
    result = subprocess.run(program, shell=True, capture_output=True, text=True, timeout=120)
    assert result.stderr == ""


def test_flag_beats_environment_beats_file_beats_default(
    monkeypatch: pytest.MonkeyPatch, seen: dict[str, object]
) -> None:
    chat(monkeypatch, "chat")
    assert (seen["temperature"], seen["session"]) == (None, "default")
    write_config('[chat]\ntemperature = 0.1\nsession = "文件"\ntop-k = 3\nmax_new_tokens = 9\n')
    chat(monkeypatch, "chat")
    assert (seen["temperature"], seen["session"], seen["top_k"], seen["max_new_tokens"]) == (
        0.1,
        "文件",
        3,
        9,
    )
    monkeypatch.setenv("CHATGPT2_CHAT_TEMPERATURE", "0.2")
    chat(monkeypatch, "chat")
    assert (seen["temperature"], seen["top_k"]) == (0.2, 3)
    chat(monkeypatch, "chat", "--temperature", "0.3")
    assert seen["temperature"] == 0.3


def test_another_file_may_be_named(
    monkeypatch: pytest.MonkeyPatch, seen: dict[str, object], tmp_path: Path
) -> None:
    write_config("[chat]\ntemperature = 0.1\n")
    (tmp_path / "other.toml").write_text("[chat]\ntemperature = 0.7\n", encoding="utf-8")
    chat(monkeypatch, "--config", str(tmp_path / "other.toml"), "chat")
    assert seen["temperature"] == 0.7
    monkeypatch.setenv("CHATGPT2_CONFIG", str(tmp_path / "other.toml"))
    chat(monkeypatch, "chat")
    assert seen["temperature"] == 0.7


def test_options_of_a_groups_command_have_a_table_of_their_own() -> None:
    write_config("[model.show]\njson = true\n[corpus.check]\nlength = 64\n")
    result = run("corpus", "check", str(Path(__file__).parents[2] / "corpus" / "16_jokes.txt"), "--json")
    assert json.loads(result.stdout)["length"] == 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[chat]\ntemprature = 1\n", "no option temprature; there are"),
        (
            "[chatt]\ntemperature = 1\n",
            "[chatt] is no command; tables are named train-dialog, train-text, ",
        ),
        ("temperature = 1\n", "[temperature] is no command"),
        ("[chat\n", "is not valid TOML"),
        ("[chat]\nname = '\udcff'\n", "is not valid TOML"),
        ("[chat]\ntemperature = 'hot'\n", "'hot' is not a valid float.\nIt comes from the TOML file."),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(text: str, said: str) -> None:
    path = data_folder() / "chatgpt2.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    result = run("chat", "--once", "你好")
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[corpus]\nlength = 64\n", "[corpus]: no command length; there are check"),
        ("[corpus]\ncheck = 64\n", "[corpus.check] must be a table of options, not 64"),
        ("[corpus.check]\nlenght = 64\n", "[corpus.check]: no option lenght"),
    ],
)
def test_a_wrong_setting_of_a_groups_command_too(text: str, said: str) -> None:
    path = write_config(text)
    result = run("corpus", "check", "x")
    assert result.returncode == 2
    assert f"{path}, {said}" in result.stderr


def test_a_file_that_is_not_there_is_an_error() -> None:
    result = run("--config", "nowhere.toml", "doctor")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "nowhere.toml" in result.stderr


def test_a_wrong_value_in_the_environment_is_an_error() -> None:
    result = run("chat", CHATGPT2_CHAT_TEMPERATURE="hot")
    assert result.returncode == 2
    assert "CHATGPT2_CHAT_TEMPERATURE" in result.stderr


def test_a_data_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run("doctor", CHATGPT2_HOME=str(tmp_path / "file" / "home"))
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "set CHATGPT2_HOME" in result.stderr
