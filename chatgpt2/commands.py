"""What begins with a slash: read once for every front end, and done on a ChatService."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches

from chatgpt2.adapter import Command
from chatgpt2.chat import SETTINGS, ChatService
from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import ConfigError
from chatgpt2.store import SessionKey, Verdict


@dataclass(frozen=True, slots=True)
class Order:
    """A line that asks for a command. `name` is the English one, or None: there is no such command."""

    name: str | None
    argument: str
    typed: str


SHARED = (
    Command("start", ("开始",), "", "打个招呼"),
    Command("help", ("帮助",), "", "显示这份说明"),
    Command("reset", ("重置", "清空"), "", "重新开始，前面的话只留在记录里"),
    Command("undo", ("撤销", "撤回"), "", "撤回上一句和它的回答"),
    Command("retry", ("重试", "重答"), "", "重新回答上一句"),
    Command("stop", ("停止", "停"), "", "停下正在说的回答"),
    Command("history", ("历史", "记录"), "", "看看都说了什么"),
    Command("settings", ("设置", "set"), "名称 值", "查看或修改设置，如 /设置 top_k 5"),
    Command("feedback", ("反馈",), "好|差 说明", "评价上一个回答"),
    Command("optout", ("退出训练",), "", "不让我说的话用于训练"),
    Command("optin", ("加入训练",), "", "允许我说的话用于训练"),
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
_PERSONA = "开场白，一问一答用｜隔开，如 你叫什么｜我叫小智"
_PERSONA_NAMES = ("persona", "人设", "开场白")
_BACK_TO_DEFAULT = ("默认", "default", "none")
_VERDICTS: dict[str, Verdict] = {
    **dict.fromkeys(("好", "赞", "👍", "up", "good"), "up"),
    **dict.fromkeys(("差", "踩", "👎", "down", "bad"), "down"),
}
NOTHING_TO_RETRY = "还没有可以重答的话。"
_HELLO = "你好！直接跟我说话就行。输入 /帮助 看看还能做什么，输入 /重置 重新开始。"
_OPTED_OUT = "好的，你说的话不会用于训练。（已经训练过的模型改不了；/加入训练 可以改回来）"
_OPTED_IN = "谢谢，你说的话以后可以用于训练。（/退出训练 可以改回来）"


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
    order: Order,
    service: ChatService,
    session: SessionKey,
    commands: Sequence[Command] = SHARED,
    user: str | None = None,
) -> str:
    """Do what is asked and say so in Chinese. (`retry` answers at length: see ChatService.retry.)"""
    match order.name:
        case "start":
            return _HELLO
        case "help":
            return _help(commands)
        case "reset":
            return _after_reset(await service.reset(session))
        case "undo":
            exchange = await service.undo(session)
            return "没有可以撤回的话。" if exchange is None else f"已撤回「{exchange.user}」和它的回答。"
        case "stop":
            return "好的，不说了。" if await service.stop(session) else "现在没有在说的回答。"
        case "history":
            return await _history(service, session)
        case "settings":
            return await _set(service, session, order.argument)
        case "feedback":
            return await _feedback(service, session, order.argument, user)
        case "optout":
            await service.opt_out(session, user)
            return _OPTED_OUT
        case "optin":
            await service.opt_out(session, user, out=False)
            return _OPTED_IN
        case _:
            return _unknown(order, commands)


def _help(commands: Sequence[Command]) -> str:
    lines = []
    for each in commands:
        usage = f"/{each.name} {each.argument}".rstrip()
        names = " ".join(f"/{alias}" for alias in each.aliases)
        lines.append(f"{usage}{_gap(usage, 22)}{names}{_gap(names, 14)}{each.meaning}")
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


async def _feedback(service: ChatService, session: SessionKey, argument: str, user: str | None) -> str:
    first, _, rest = argument.strip().partition(" ")
    verdict = _VERDICTS.get(first.lower())
    text = rest.strip() if verdict else argument.strip()
    if not (verdict or text):
        return "怎么评价？/反馈 好，或 /反馈 差 太短了"
    found = await service.feedback(session, verdict, text or None, user=user)
    return "还没有可以评价的回答。" if found is None else "记下了，谢谢！"


async def _set(service: ChatService, session: SessionKey, argument: str) -> str:
    key, _, value = argument.replace("=", " ", 1).replace("＝", " ", 1).partition(" ")
    if not value.strip():
        return await _settings(service, session)
    name, value = key.lower().replace("-", "_"), value.strip()
    if name in _PERSONA_NAMES:
        return await _set_persona(service, session, value)
    if name not in SETTINGS:
        return f"没有 {key} 这个设置，可以用的有：{'、'.join((*SETTINGS, _PERSONA_NAMES[0]))}。"
    try:
        await service.set(session, name, None if value.lower() in _BACK_TO_DEFAULT else value)
    except ConfigError:
        return f"{name} 不能设为 {value}（{_MEANINGS[name]}）。"
    return f"{name} 已设为 {_shown(asdict(await service.sampling(session))[name])}。"


async def _set_persona(service: ChatService, session: SessionKey, value: str) -> str:
    if value.lower() in _BACK_TO_DEFAULT:
        await service.set_persona(session, None)
        return "开场白已恢复默认。"
    texts = value.replace("|", "｜").split("｜")
    try:
        await service.set_persona(session, Dialogue.of(texts).turns)
    except ConfigError:
        return f"这个开场白不行：要{_PERSONA}，不能太长，也不能有不合适的词。"
    return f"开场白已设为 {'｜'.join(text.strip() for text in texts)}。"


async def _settings(service: ChatService, session: SessionKey) -> str:
    now = asdict(await service.sampling(session))
    persona = "｜".join(turn.text for turn in await service.persona(session)) or "无"
    lines = [f"  {name} = {_shown(now[name])}（{meaning}）" for name, meaning in _MEANINGS.items()]
    how = "现在的设置（/设置 名称 值 修改，/设置 名称 默认 恢复）："
    return "\n".join([how, *lines, f"  persona = {persona}（{_PERSONA}）"])


def _shown(value: object) -> str:
    return "随机" if value is None else str(value)


def _unknown(order: Order, commands: Sequence[Command]) -> str:
    names = [name for each in commands for name in (each.name, *each.aliases)]
    near = get_close_matches(order.typed, names, n=1)
    guess = f"是不是想用 /{near[0]}？" if near else ""
    return f"没有 /{order.typed} 这个命令。{guess}输入 /help 看看有哪些。"
