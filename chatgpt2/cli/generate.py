"""`chatgpt2 generate`: let a model go on with texts, or answer messages."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.cli.home import data_folder
from chatgpt2.cli.options import engine_options, sampling_options
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import ConfigError

if TYPE_CHECKING:
    from chatgpt2.serving import Serving
    from chatgpt2.writing import Order, Written

_UNUSED_BY_BEAMS = ("temperature", "top_k", "top_p", "seed")


@click.command("generate")
@click.argument("model", metavar="MODEL")
@click.argument("prompts", metavar="PROMPT…", nargs=-1)
@click.option("--file", "file", metavar="FILE", help="Read prompts from FILE, one a line; -: from stdin.")
@click.option("--n", type=click.IntRange(min=1), default=1, show_default=True, help="Texts for each prompt.")
@click.option("--dialogue", is_flag=True, help="A prompt is what a user says, and is answered.")
@click.option(
    "--stop",
    "stops",
    metavar="TOKEN",
    multiple=True,
    help="End there: a token of the vocabulary, or any string. May be repeated.",
)
@click.option(
    "--beams",
    type=click.IntRange(min=0),
    default=0,
    help="Search the likeliest text with so many beams instead of drawing it (by transformers, slower).",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each prompt.")
@sampling_options
@engine_options
def generate(
    model: str,
    prompts: tuple[str, ...],
    file: str | None,
    n: int,
    dialogue: bool,
    stops: tuple[str, ...],
    beams: int,
    as_json: bool,
    engine: EngineOptions,
    sampling: dict[str, Any],
) -> None:
    """Let MODEL go on with each PROMPT; with --dialogue, let it answer.

    MODEL is any GPT-2 in Hugging Face format, a directory or a hub name. A single text appears as it is
    written; several prompts, or --n texts, are written together in one batch. A text is printed with its
    prompt before it, an answer alone.
    """
    from chatgpt2.writing import Order

    wanted = [*prompts, *(_read(file) if file else ())]
    if not wanted:
        raise ConfigError(
            "give a prompt, or a file of them: chatgpt2 generate MODEL 今天天气, or --file prompts.txt"
        )
    order = Order(dialogue, stops, {**sampling, "n": n})
    if beams:
        if given := [name for name in _UNUSED_BY_BEAMS if name in sampling]:
            raise ConfigError(f"--beams draws nothing: leave --{given[0].replace('_', '-')} out")
        found = _search(model, wanted, order, beams, engine)
        _print(found, dialogue, as_json)
    else:
        asyncio.run(_write(model, wanted, order, engine, as_json))


def _read(name: str) -> list[str]:
    """Lines that are not empty."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"--file {name} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--file {name} is not UTF-8 text: save it as UTF-8") from error
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]


def _search(
    model: str, prompts: Sequence[str], order: Order, beams: int, engine: EngineOptions
) -> list[Written]:
    from chatgpt2.checkpoint import load_any
    from chatgpt2.device import choose_device
    from chatgpt2.writing import search

    if engine.name not in ("auto", "pytorch") or engine.url:
        raise ConfigError(f"--beams is computed by transformers: leave --engine {engine.name} out")
    return search(load_any(model, choose_device(engine.device)), prompts, order, beams)


async def _write(
    model: str, prompts: Sequence[str], order: Order, engine: EngineOptions, as_json: bool
) -> None:
    from chatgpt2.cli.progress import Meter
    from chatgpt2.loading import open_model
    from chatgpt2.writing import write

    with Meter() as meter:

        def notify(notice: str, why: str) -> None:
            meter.notice("preparing the model for this machine, once" if notice == "converting" else why)

        serving = open_model(model, engine, data_folder() / "openvino", notify)
    try:
        if len(prompts) == 1 and order.sampling["n"] == 1 and not as_json:
            await _stream(serving, prompts[0], order)
            return
        done = 0
        with Meter() as meter:

            def written() -> None:
                nonlocal done
                done += 1
                meter.step("prompts", done, len(prompts))

            found = await write(serving, prompts, order, written)
        _print(found, order.dialogue, as_json)
    finally:
        await serving.engine.close()


async def _stream(serving: Serving, prompt: str, order: Order) -> None:
    from chatgpt2.writing import stream

    begun = False
    async with aclosing(stream(serving, prompt, order)) as pieces:
        async for piece in pieces:
            if not begun and not order.dialogue:  # not before the prompt was found good
                click.echo(prompt, nl=False)
            begun = True
            click.echo(piece.text, nl=False)
    click.echo()


def _print(found: Sequence[Written], dialogue: bool, as_json: bool) -> None:
    if as_json:
        for each in found:
            row = {"prompt": each.prompt, "texts": each.texts, "finishes": each.finishes}
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    several = any(len(each.texts) > 1 for each in found)
    for number, each in enumerate(found):
        if several and number:
            click.echo()
        for text in each.texts:
            click.echo(text if dialogue else each.prompt + text)
