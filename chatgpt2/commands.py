"""What begins with a slash: read once for every front end, and done on a ChatService."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches

from chatgpt2.chat import SETTINGS, ChatService
from chatgpt2.errors import ConfigError
from chatgpt2.store import SessionKey


@dataclass(frozen=True, slots=True)
class Command:
    """A command that people may use: `/name`, or `/` and one of its Chinese names."""

    name: str
    aliases: tuple[str, ...]
    argument: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Order:
    """A line that asks for a command. `name` is the English one, or None: there is no such command."""

    name: str | None
    argument: str
    typed: str


SHARED = (
    Command("help", ("帮助",), "", "显示这份说明"),
    Command("reset", ("重置", "清空"), "", "重新开始，前面的话只留在记录里"),
    Command("undo", ("撤销", "撤回"), "", "撤回上一句和它的回答"),
    Command("retry", ("重试", "重答"), "", "重新回答上一句"),
    Command("history", ("历史", "记录"), "", "看看都说了什么"),
    Command("set", ("设置",), "名称 值", "查看或修改设置，如 /set top_k 5"),
)

_MEANINGS = {
    "temperature": "随机程度，0 到 10；0 是每次都选最可能的字",
    "top_k": "从最可能的多少个字里选；0 不限",
    "top_p": "从概率合计多少的字里选，大于 0，最大 1",
    "repetition_penalty": "少重复，大于 0，最大 10；1 不管",
    "no_repeat_ngram": "不许连着多少个字重复；0 不管",
    "max_new_tokens": "一次最多说多少字，从 1 到模型的长度",
    "seed": "随机种子，整数；种子相同，回答也相同",
}
_BACK_TO_DEFAULT = ("默认", "default", "none")


def read_order(line: str, commands: Sequence[Command] = SHARED) -> Order | None:
    """The command that this line is, or None when it is something said. Full-width ／ｈｅｌｐ counts too."""
    text = line.strip()
    if not text.startswith(("/", "／")):
        return None
    head, _, argument = text[1:].replace("\u3000", " ").partition(" ")
    typed = unicodedata.normalize("NFKC", head).lower()
    names = {name: each.name for each in commands for name in (each.name, *each.aliases)}
    return Order(names.get(typed), argument.strip(), typed)


async def obey(
    order: Order, service: ChatService, session: SessionKey, commands: Sequence[Command] = SHARED
) -> str:
    """Do what is asked and say so in Chinese. (`retry` answers at length: see ChatService.retry.)"""
    match order.name:
        case "help":
            return _help(commands)
        case "reset":
            return _after_reset(await service.reset(session))
        case "undo":
            exchange = await service.undo(session)
            return "没有可以撤回的话。" if exchange is None else f"已撤回「{exchange.user}」和它的回答。"
        case "history":
            return await _history(service, session)
        case "set":
            return await _set(service, session, order.argument)
        case _:
            return _unknown(order, commands)


def _help(commands: Sequence[Command]) -> str:
    lines = []
    for each in commands:
        usage = f"/{each.name} {each.argument}".rstrip()
        names = " ".join(f"/{alias}" for alias in each.aliases)
        lines.append(f"{usage}{_gap(usage, 16)}{names}{_gap(names, 14)}{each.meaning}")
    return "\n".join(["可以直接说话，也可以用这些命令：", *(f"  {line}" for line in lines)])


def _gap(text: str, columns: int) -> str:
    """The spaces that fill `text` up to so many columns; a Han character takes two."""
    taken = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return " " * max(1, columns - taken)


def _after_reset(turns: int) -> str:
    return f"好的，我们重新开始。（前面的 {turns} 句仍在记录里）" if turns else "好的，我们开始吧。"


async def _history(service: ChatService, session: SessionKey) -> str:
    turns = (await service.history(session)).turns
    names = {"user": "你", "bot": "机器人"}
    return "\n".join(f"{names[turn.role]}：{turn.text}" for turn in turns) or "还没有说过话。"


async def _set(service: ChatService, session: SessionKey, argument: str) -> str:
    key, _, value = argument.replace("=", " ").replace("＝", " ").partition(" ")
    if not value.strip():
        return await _settings(service, session)
    name, value = key.lower().replace("-", "_"), value.strip()
    if name not in SETTINGS:
        return f"没有 {key} 这个设置，可以用的有：{'、'.join(SETTINGS)}。"
    try:
        await service.set(session, name, None if value.lower() in _BACK_TO_DEFAULT else value)
    except ConfigError:
        return f"{name} 不能设为 {value}（{_MEANINGS[name]}）。"
    return f"{name} 已设为 {_shown(asdict(await service.sampling(session))[name])}。"


async def _settings(service: ChatService, session: SessionKey) -> str:
    now = asdict(await service.sampling(session))
    lines = [f"  {name} = {_shown(now[name])}（{meaning}）" for name, meaning in _MEANINGS.items()]
    return "\n".join(["现在的设置（/set 名称 值 修改，/set 名称 默认 恢复）：", *lines])


def _shown(value: object) -> str:
    return "随机" if value is None else str(value)


def _unknown(order: Order, commands: Sequence[Command]) -> str:
    names = [name for each in commands for name in (each.name, *each.aliases)]
    near = get_close_matches(order.typed, names, n=1)
    guess = f"是不是想用 /{near[0]}？" if near else ""
    return f"没有 /{order.typed} 这个命令。{guess}输入 /help 看看有哪些。"
