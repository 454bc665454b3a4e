"""`chatgpt2 chat` put together: a terminal or a pipe on one side, a model and the sessions on the other."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.bots.terminal import Terminal, answer_lines, no_echo
from chatgpt2.cli.home import data_folder
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import ConfigError

# Imported only when the welcome is on the screen: the database's library takes half a second, torch two.
if TYPE_CHECKING:
    from chatgpt2.chat import ChatService
    from chatgpt2.cli.conversation import Conversation
    from chatgpt2.gateway import Bot, Manners
    from chatgpt2.serving import Serving
    from chatgpt2.store import SessionStore

_NOTICES = {
    "converting": "（正在为这台机器准备模型，只做一次，大约十秒……）",
    "slow": "（OpenVINO 用不了，改用 PyTorch，会慢一些。原因：{why}）",
}


@dataclass(frozen=True, slots=True)
class Talk:
    """What the options say. `latest`: the model is the latest one, not one asked for. `settings`: [bots.terminal]."""

    model: str
    latest: bool
    session: str
    database: str
    engine: EngineOptions
    sampling: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)


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
    async with _opened(options, partial(click.echo, err=True)) as (conversation, loading):
        await loading
        if once is not None:
            click.echo(await conversation.reply(once))
        else:
            await answer_lines(conversation.answer, sys.stdin.buffer, sys.stdout)


async def _talk_at_terminal(options: Talk) -> None:
    terminal = Terminal(history=data_folder() / "chat_history")
    terminal.note(_which_model(options))
    terminal.note("和你说话的是 AI，说的不一定对。/help 看命令，Ctrl-C 停下回答，Ctrl-D 离开。")
    with no_echo():
        await _converse(terminal, options)


async def _converse(terminal: Terminal, options: Talk) -> None:
    async with _opened(options, terminal.announce) as (conversation, loading):
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
async def _opened(
    options: Talk, say: Callable[[str], None]
) -> AsyncIterator[tuple[Conversation, asyncio.Task[ChatService]]]:
    """The conversation, and the loading of its model, which has begun."""
    from chatgpt2.bots.terminal.adapter import TerminalBot
    from chatgpt2.cli.conversation import COMMANDS, Conversation, Failures, terminal_key
    from chatgpt2.gateway import Bot, Manners, split_settings
    from chatgpt2.store import SessionStore

    key, bot, failures = terminal_key(options.session), TerminalBot(), Failures()
    rules, _ = split_settings({"notice": "", **options.settings})  # the welcome has said who answers
    load, manners = partial(_serving, options, say), Manners(COMMANDS, failures.note)
    async with await SessionStore.open(options.database) as store, AsyncExitStack() as stack:
        bots = [Bot(bot.name, bot, rules)]
        loading = asyncio.create_task(_serve(options, store, load, bots, manners, stack))
        try:
            yield Conversation(loading, bot, store, key, load, failures), loading
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)


async def _serve(
    options: Talk,
    store: SessionStore,
    load: Callable[[str], Awaitable[Serving]],
    bots: Sequence[Bot],
    manners: Manners,
    stack: AsyncExitStack,
) -> ChatService:
    """The model behind a gateway, both of which `stack` ends."""
    from chatgpt2.chat import ChatService
    from chatgpt2.gateway import Gateway

    service = ChatService(await load(options.model), store, overrides=options.sampling)
    stack.push_async_callback(service.close)
    await stack.enter_async_context(Gateway(service, None, bots, manners=manners).running(grace=0))
    for bot in bots:
        await bot.ready.wait()
    return service


async def _serving(options: Talk, say: Callable[[str], None], source: str) -> Serving:
    """Load a model beside the event loop."""
    loop = asyncio.get_running_loop()

    def notify(notice: str, why: str) -> None:
        loop.call_soon_threadsafe(say, _NOTICES[notice].format(why=why))

    return await asyncio.to_thread(_load, source, options, notify)


def _load(source: str, options: Talk, notify: Callable[[str, str], None]) -> Serving:
    from chatgpt2.anycodec import require_dialogue
    from chatgpt2.loading import choose_engine, open_model

    if source != options.model and choose_engine(options.engine)[0] == "remote":
        raise ConfigError(
            "the model is the remote server's: exchange it there, and start the chat with the new one"
        )
    require_dialogue(source)
    return open_model(source, options.engine, data_folder() / "openvino", notify)
