"""The command line: options become objects, objects run. Nothing here imports torch until a command needs it."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from chatgpt2 import __version__
from chatgpt2.cli.bot_settings import TABLE
from chatgpt2.cli.home import data_folder
from chatgpt2.errors import ChatGPT2Error, ConfigError

# name -> (module:object, what `chatgpt2 --help` says), so that --help imports no command.
COMMANDS = {
    "train-dialog": ("train:train_dialog", "Train or fine-tune a model on dialogues."),
    "train-text": ("train:train_text", "Train or fine-tune a model on any text."),
    "train-classifier": ("classify:train_classifier", "Teach a model to judge texts."),
    "chat": ("chat:chat", "Talk to a model in the terminal."),
    "generate": ("generate:generate", "Let a model go on with texts."),
    "classify": ("classify:classify", "Let a model judge texts."),
    "evaluate": ("evaluate:evaluate", "Measure a model on text that it has not learned from."),
    "serve": ("serve:serve", "Serve a model to clients of the OpenAI API."),
    "bots": ("bots:bots", "List the chat platforms that there are adapters for."),
    "bot": ("bot:bot", "Run a bot by itself, or log it in."),
    "keys": ("keys:keys", "Make, list or revoke the keys of `serve`."),
    "sessions": ("sessions:sessions", "List, show or delete kept conversations."),
    "db": ("db:db", "Upgrade, check, back up, export, erase the session database."),
    "corpus": ("corpus:corpus", "Check a corpus before training on it."),
    "init-corpus": ("corpus:init_corpus", "Write the bundled Chinese corpus to a folder."),
    "vocabulary": ("vocabulary:vocabulary", "Build or look at a vocabulary."),
    "model": ("model:model", "Work on a model directory."),
    "doctor": ("doctor:doctor", "Say what works on this machine and what to fix."),
}


class Lazy(click.Group):
    """A group that imports a command only when it runs, and turns foreseen errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(f"chatgpt2.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            longer = [name for name in COMMANDS if name.startswith(args[0])]
            near = longer or difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else " `chatgpt2 --help` lists the commands."
            raise click.UsageError(error.message + hint, ctx) from error


def _settings(config: Path | None, ctx: click.Context) -> dict[str, Any]:
    """The TOML file as click's default map: a table for each command, a key for each option."""
    path = config or data_folder() / "chatgpt2.toml"
    if config is None and not path.exists():
        return {}
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    ctx.obj = raw.pop(TABLE, {})  # of the bots: chatgpt2.cli.bot_settings
    for table, values in raw.items():
        if table not in COMMANDS or not isinstance(values, dict):
            raise ConfigError(f"{path}: [{table}] is no command; tables are named {', '.join(COMMANDS)}")
    running = ctx.invoked_subcommand
    if running not in raw:
        return {}
    # Importing a command costs time, so only the one that runs is checked, and it is imported already.
    return {running: _defaults(f"{path}, [{running}]", cli.get_command(ctx, running), raw[running], ctx)}


def _defaults(where: str, command: click.Command | None, values: Any, ctx: click.Context) -> dict[str, Any]:
    """The values by the names of the command's parameters; those of a group by its commands."""
    assert command is not None
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a table of options, not {values!r}")
    if isinstance(command, click.Group):
        inner = {name: command.get_command(ctx, name) for name in command.list_commands(ctx)}
        _check_keys(where, "command", values, inner)
        return {name: _defaults(f"{where[:-1]}.{name}]", inner[name], values[name], ctx) for name in values}
    names = {option[2:]: each.name for each in command.params for option in each.opts if option[:2] == "--"}
    given = {key.replace("_", "-"): value for key, value in values.items()}
    _check_keys(where, "option", given, names)
    return {str(names[key]): value for key, value in given.items()}


def _check_keys(where: str, kind: str, values: Iterable[str], known: Iterable[str]) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: no {kind} {key}; there are {', '.join(sorted(known))}")


@click.group(
    cls=Lazy, context_settings={"auto_envvar_prefix": "CHATGPT2", "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="chatgpt2")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file of defaults [default: chatgpt2.toml in the data folder].",
)
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """From a Chinese dialogue corpus to a bot that talks.

    Start with `chatgpt2 train-dialog CORPUS`, then `chatgpt2 chat`.

    A flag beats the environment (CHATGPT2_CHAT_TEMPERATURE=0.7), which beats the TOML file.
    """
    ctx.default_map = _settings(config, ctx)


def main() -> None:
    """Run the command line; the console script and `python -m chatgpt2`."""
    # torch's threads wait for one another by spinning; beside another busy program they would mostly spin.
    # Measured with one: 1.5 times the tokens/s of the default, and none lost on a quiet machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A Chinese reply must not crash a Windows console or a C locale.
            stream.reconfigure(errors="replace", **({} if stream.isatty() else {"encoding": "utf-8"}))
    try:
        # The status that a command handed to ctx.exit, or its result: None.
        status = cli.main(prog_name="chatgpt2", standalone_mode=False)
    except ChatGPT2Error as error:
        _fail(str(error), 2)
    except click.ClickException as error:
        error.show()
        click.echo(_source(error), err=True, nl=False)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is wrong, but Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:  # the last line of defence: a user gets a sentence, not a traceback
        if os.environ.get("CHATGPT2_DEBUG"):
            raise
        name = type(error).__name__
        _fail(f"unexpected {name}: {error} (this is a bug; CHATGPT2_DEBUG=1 shows where)", 1)
    sys.exit(status)


def _source(error: click.ClickException) -> str:
    """Where a wrong value came from, unless it was typed on this command line."""
    if not isinstance(error, click.BadParameter) or not (error.ctx and error.param and error.param.name):
        return ""
    source = error.ctx.get_parameter_source(error.param.name)
    if source is click.core.ParameterSource.ENVIRONMENT:
        own = error.param.envvar or f"{error.ctx.auto_envvar_prefix}_{error.param.name.upper()}"
        return f"It comes from the environment: {own}.\n"
    return "It comes from the TOML file.\n" if source is click.core.ParameterSource.DEFAULT_MAP else ""


def _fail(message: str, status: int) -> NoReturn:
    label = "Error: " if os.environ.get("NO_COLOR") else click.style("Error: ", fg="red")
    click.echo(label + message, err=True)
    sys.exit(status)
