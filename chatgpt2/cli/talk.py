"""`chatgpt2 chat` put together: a terminal or a pipe on one side, a model and the sessions on the other."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.bots.terminal import Terminal, answer_lines, last, no_echo
from chatgpt2.cli.home import data_folder
from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import Engine, SamplingParams

# Imported only when the welcome is on the screen: the database's library takes half a second, torch two.
if TYPE_CHECKING:
    from chatgpt2.chat import ChatService
    from chatgpt2.checkpoint import Checkpoint
    from chatgpt2.cli.conversation import Conversation
    from chatgpt2.store import SessionStore


@dataclass(frozen=True, slots=True)
class Talk:
    """What the options say. `latest`: the model is the latest one, not one asked for."""

    model: str
    latest: bool
    session: str
    database: str
    device: str
    threads: int | None
    sampling: Mapping[str, Any]


async def talk(options: Talk, once: str | None) -> None:
    """Answer one text, the lines of a pipe, or a person."""
    if once is not None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        await _talk_plainly(options, once)
    else:
        await _talk_at_terminal(options)


async def _talk_plainly(options: Talk, once: str | None) -> None:
    # Reading a pipe blocks the loop, which has nothing else to do; so Ctrl-C must not wait for the loop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if options.latest:
        click.echo(_which_model(options), err=True)
    async with _opened(options) as (conversation, loading):
        await loading
        if once is not None:
            click.echo(await last(conversation.say(once)))
        else:
            await answer_lines(conversation.answer, sys.stdin.buffer, sys.stdout)


async def _talk_at_terminal(options: Talk) -> None:
    terminal = Terminal(history=data_folder() / "chat_history")
    terminal.note(_which_model(options))
    terminal.note("直接说话就好；/help 看命令，Ctrl-C 停下回答，Ctrl-D 离开。")
    with no_echo():
        await _converse(terminal, options)


async def _converse(terminal: Terminal, options: Talk) -> None:
    async with _opened(options) as (conversation, loading):
        if turns := await conversation.turns():
            terminal.note(f"接着上次的会话（{turns} 句）：/history 看看，/reset 重新开始。")
        await _until_left(terminal, conversation, loading)


async def _until_left(
    terminal: Terminal, conversation: Conversation, loading: asyncio.Task[ChatService]
) -> None:
    """Run the terminal; a model that turns out not to load ends it at once."""
    from chatgpt2.cli.conversation import WORDS

    talking = asyncio.create_task(terminal.run(conversation.answer_kindly, WORDS))
    await asyncio.wait({talking, loading}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done() and loading.exception() is not None:
        talking.cancel()
        await asyncio.wait({talking})
        await loading
    await talking


def _which_model(options: Talk) -> str:
    return f"模型：{options.model}{'（最近训练的）' if options.latest else ''}"


@asynccontextmanager
async def _opened(options: Talk) -> AsyncIterator[tuple[Conversation, asyncio.Task[ChatService]]]:
    """The conversation, and the loading of its model, which has begun."""
    from chatgpt2.cli.conversation import Conversation, terminal_key
    from chatgpt2.store import SessionStore

    key, engines = terminal_key(options.session), list[Engine]()
    async with await SessionStore.open(options.database) as store:
        loading = asyncio.create_task(_serve(options, store, engines))
        try:
            yield Conversation(loading, store, key), loading
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            for engine in engines:
                await engine.close()


async def _serve(options: Talk, store: SessionStore, engines: list[Engine]) -> ChatService:
    from chatgpt2.chat import ChatService

    engine, checkpoint = await asyncio.to_thread(_load, options)
    engines.append(engine)
    return ChatService(
        engine,
        checkpoint.codec,
        store,
        _defaults(checkpoint.card.sampling),
        Dialogue.of(checkpoint.card.opening).turns,
        overrides=options.sampling,
        model=_fingerprint(checkpoint),
    )


def _defaults(sampling: Mapping[str, Any]) -> SamplingParams:
    """The model's own settings; those that this version does not know are left out."""
    known = {each.name for each in fields(SamplingParams)}
    return SamplingParams(**{name: value for name, value in sampling.items() if name in known})


def _fingerprint(checkpoint: Checkpoint) -> str:
    """Which training a reply came from: the name alone is soon another model's."""
    facts = json.dumps(asdict(checkpoint.card), sort_keys=True, default=str)
    return f"{checkpoint.name}@{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def _load(options: Talk) -> tuple[Engine, Checkpoint]:
    import torch

    from chatgpt2.checkpoint import load_checkpoint
    from chatgpt2.device import choose_device
    from chatgpt2.engine.pytorch import PyTorchEngine

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    checkpoint = load_checkpoint(options.model, choose_device(options.device))
    banned, pad = checkpoint.banned_ids, checkpoint.codec.pad_id
    return PyTorchEngine(checkpoint.model, banned_ids=banned, pad_id=pad), checkpoint
