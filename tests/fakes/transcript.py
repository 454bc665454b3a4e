"""Conversations on the fake platforms: the real adapters, the real gateway, a real model. benchmarks/transcripts.py
prints them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from fakes.callback import Callback
from fakes.platforms import (
    Application,
    AtTerminal,
    ConnectedBot,
    Official,
    Personal,
    PolledBot,
    Subscription,
    Telegram,
)
from fakes.telegram import FakeTelegram

from chatgpt2.adapter import Request, Response, Services
from chatgpt2.chat import ChatService
from chatgpt2.commands import SHARED
from chatgpt2.gateway import Bot, Gateway, Rules
from chatgpt2.serving import Serving
from chatgpt2.store import AdapterState, Feedback, SessionStore

PATIENCE = 60.0  # seconds for anything to happen; nothing takes nearly as long
_CHAT, _GROUP = "1", "-7"


@dataclass(frozen=True, slots=True)
class Act:
    """What a person does. `how`: says `text` in private, in the group to the bot, or in the group to others; sends a
    picture; likes the last answer."""

    text: str = ""
    how: Literal["say", "call", "chatter", "show", "like"] = "say"


@dataclass(frozen=True, slots=True)
class Heard:
    """An act, the bot's messages that followed it, what the platform showed besides, the opinion on record."""

    act: Act
    answers: tuple[str, ...]
    shown: str = ""
    verdict: str | None = None


PASSAGE = (
    "跟你说说我的周末吧。星期六早上我睡到九点才起床，吃了一碗热干面，然后坐地铁去图书馆还书。路上下起了小雨，我没带伞，"
    "只好在便利店门口躲了一会儿，顺便买了一杯豆浆。到了图书馆，人比平时少得多，我找了个靠窗的位子，把那本看了一半的小说看完了。"
    "中午和两个老同学在附近的小店吃饭，点了鱼香肉丝、番茄炒蛋和一大盆酸菜鱼，边吃边聊以前的事，一直聊到三点多。"
    "下午天晴了，我们去公园走了一圈，湖边有人放风筝，有人下象棋，还有一个小孩追着鸽子跑。晚上回到家，我把房间收拾了一遍，"
    "给爸妈打了个电话，他们说院子里的柿子快熟了，让我下个月回去摘。星期天我哪儿也没去，洗衣服、做饭、看电影，"
    "一天就这么过去了。虽然没什么大事，可我觉得挺踏实的。"
)
_LIKE, _SHOW, _UNDO = Act(how="like"), Act(how="show"), Act("/撤回")
_RATE, _HELP = Act("/反馈 好"), Act("/帮助")
_LONG = (Act(PASSAGE), Act("再说一遍：" + PASSAGE), Act("/历史"))
_CHATTER, _CALL = Act("中午吃什么", "chatter"), Act("今天天气真好", "call")


def _talk(*texts: str) -> tuple[Act, ...]:
    return tuple(map(Act, texts))


@asynccontextmanager
async def _telegram() -> Any:
    async with FakeTelegram().running() as fake:
        yield Telegram(fake)


def _run(make: Callable[[], Any]) -> Callable[[], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def running() -> Any:
        platform = make()
        async with platform.running():
            yield platform

    return running


def _there(make: Callable[[], Any]) -> Callable[[], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def there() -> Any:
        yield make()

    return there


@dataclass(frozen=True, slots=True)
class Part:
    """One platform: its name, what its part shows, the platform itself, and what people do there."""

    title: str
    shows: str
    running: Callable[[], AbstractAsyncContextManager[Any]]
    acts: Sequence[Act]


PARTS = (
    Part(
        "Telegram",
        "Long polling; a private chat with the 👍 under an answer pressed, then a group, where the bot answers when "
        "it is called and never sees the rest.",
        _telegram,
        (*_talk("你好", "一般般吧"), _LIKE, _SHOW, _UNDO, _HELP, _CHATTER, _CALL),
    ),
    Part(
        "WeChat: a verified service account (服务号)",
        "Encrypted callbacks, and answers as customer-service messages; what has more than 2,047 bytes "
        "comes in several.",
        _run(Official),
        (*_talk("你叫什么名字", "为什么叫小栗", "挺好听的"), _RATE, _SHOW, _UNDO, _HELP, *_LONG),
    ),
    Part(
        "WeChat: a subscription account (订阅号)",
        "It may answer only while WeChat waits for its callback: the rest of a long answer is fetched by the next "
        "message, whatever it says.",
        _run(Subscription),
        (*_talk("我在写作业", "数学，最后一道大题卡住了"), _RATE, _SHOW, *_LONG, Act("继续")),
    ),
    Part(
        "WeCom: an application (自建应用)",
        "Encrypted callbacks, and answers as messages of the application, of 2,048 bytes at most.",
        _run(Application),
        (*_talk("今天加班了", "九点半，地铁都空了"), _RATE, _SHOW, *_LONG),
    ),
    Part(
        "WeCom: a smart bot (智能机器人), webhook",
        "WeCom asks again and again for the answer's stream; feedback buttons, and a group, in which WeCom tells the "
        "bot only what mentions it. A message has room for 20,480 bytes, so the long answer is one.",
        _run(PolledBot),
        (*_talk("又加班", "就啃了个面包", "楼下面馆这个点关门了"), _LIKE, _SHOW, *_LONG, _CALL),
    ),
    Part(
        "WeCom: a smart bot (智能机器人), long connection",
        "The same bot over a WebSocket of its own, which needs no address.",
        _run(ConnectedBot),
        (*_talk("我不想学习", "歇完还是不想学", "好吧，就一道"), _LIKE, _SHOW, _UNDO, _CALL),
    ),
    Part(
        "WeChat: a personal account (iLink)",
        "Long polling of Tencent's iLink, after the QR code was scanned; a message has room for 4,000 characters.",
        _run(Personal),
        (*_talk("我心情不好", "就是莫名其妙地低落", "那要等多久"), _RATE, _SHOW, _UNDO, *_LONG),
    ),
    Part(
        "Webhook",
        "A program of one's own, set to messages of 100 characters, so that the help comes in pieces; a group, in "
        "which the program says whether the bot is meant.",
        _there(Callback),
        (*_talk("讲个笑话", "有点冷", "再来一个热乎的"), _LIKE, _SHOW, _UNDO, _HELP, _CHATTER, _CALL),
    ),
    Part(
        "Terminal",
        "The same gateway in a terminal, as `chatgpt2 bot run terminal` has it; `chatgpt2 chat` says in its welcome "
        "that an AI answers.",
        _there(AtTerminal),
        (*_talk("好累啊", "搬家，搬了二十个箱子"), _RATE, _UNDO, _HELP),
    ),
)


class Conversation:
    """A person and a bot on one platform."""

    def __init__(self, platform: Any, gateway: Gateway, feedback: Feedback) -> None:
        self._platform, self._gateway, self._feedback = platform, gateway, feedback
        self._number = 0

    async def have(self, acts: Sequence[Act]) -> list[Heard]:
        """Do one after the other, each when the last was answered."""
        return [await self._do(act) for act in acts]

    async def _do(self, act: Act) -> Heard:
        chat = _GROUP if act.how in ("call", "chatter") else _CHAT
        before, received = len(self._platform.seen(chat)), self._gateway.tally.received
        self._number += 1
        shown = await self._act(act, chat)
        if act.how != "chatter":
            # A subscriber's next message may only fetch what is left of an answer.
            await _until(
                lambda: self._gateway.tally.received > received or len(self._platform.seen(chat)) > before
            )
        await _until_true(self._rests)
        verdict = (await self._feedback.recent(1))[0].verdict if act.how == "like" else None
        return Heard(act, tuple(self._platform.seen(chat)[before:]), shown or "", verdict)

    async def _act(self, act: Act, chat: str) -> str | None:
        told: dict[str, Any] = {"chat": chat, "call": self._call}
        if act.how in ("show", "like"):
            did: Callable[..., Awaitable[str | None]] = getattr(self._platform, act.how)
            return await did(self._number, **told)
        group = chat == _GROUP
        await self._platform.say(act.text, self._number, group=group, addressed=act.how != "chatter", **told)
        return None

    async def _call(self, method: str, path: str, request: Request) -> Response:
        return await self._gateway.handle(self._gateway.bots[0].name, method, path, request)

    async def _rests(self) -> bool:
        return not self._gateway.busy and await self._gateway.mailbox.pending() == (0, 0)


async def converse(part: Part, serving: Serving, folder: Path, sampling: dict[str, Any]) -> list[Heard]:
    """Have the conversation of this part, on a database of its own in `folder`."""
    url = f"sqlite:///{(folder / 'talk.db').as_posix()}"
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(part.running())
        store = await stack.enter_async_context(await SessionStore.open(url))
        http = await stack.enter_async_context(httpx.AsyncClient())
        log = logging.getLogger("transcript")
        adapter = platform.build(Services(http, AdapterState(store, "bot"), time.time, log, SHARED))
        bot = Bot("bot", adapter, Rules())
        gateway = Gateway(ChatService(serving, store, overrides=sampling), store, [bot])
        await stack.enter_async_context(gateway.running(1.0))
        await asyncio.wait_for(bot.ready.wait(), PATIENCE)
        return await Conversation(platform, gateway, Feedback(store)).have(part.acts)


async def _until(what: Callable[[], bool]) -> None:
    async def now() -> bool:
        return what()

    await _until_true(now)


async def _until_true(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await what():
            await asyncio.sleep(0.01)


# On paper

_LONGEST_LINE, _ENDS = 120, 20  # characters; of a longer line only the ends are printed


def paper(heard: Sequence[Heard], before: set[str]) -> str:
    """A conversation as lines. Of several lines that are in `before`, printed earlier, only the first is repeated."""
    lines = []
    for each in heard:
        who = "旁人" if each.act.how == "chatter" else "用户"
        where = "（群）" if each.act.how in ("call", "chatter") else ""
        did = {"show": "〔发来一张图片〕", "like": "〔点了 👍〕", "call": f"@机器人 {each.act.text}"}
        lines.append(f"{who}{where}：{_shown(did.get(each.act.how, each.act.text), before)}")
        for place, answer in enumerate(each.answers, 1):
            which = f"（{place}/{len(each.answers)}）" if len(each.answers) > 1 else ""
            lines.append(f"机器人{which}：{_shown(answer, before)}")
        if each.shown:
            lines.append(f"〔弹出：{each.shown}〕")
        if each.verdict:
            lines.append(f"〔记录里：{each.verdict}〕")
    return "\n".join(lines)


def _shown(text: str, before: set[str]) -> str:
    lines = [
        f"{line[:_ENDS]}〔略 {len(line) - 2 * _ENDS} 字〕{line[-_ENDS:]}"
        if len(line) > _LONGEST_LINE
        else line
        for line in text.split("\n")
    ]
    known = len(lines) > 3 and text in before
    before.add(text)
    return f"{lines[0]}〔下面 {len(lines) - 1} 行同前〕" if known else "\n    ".join(lines)
