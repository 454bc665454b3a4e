"""What every adapter must stand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from chatgpt2.adapter import Limits, length
from chatgpt2.adapter.testing.driving import PATIENCE, answer_to, left_after_erasing_everybody, process
from chatgpt2.adapter.testing.platform import Platform
from chatgpt2.gateway import supervising
from chatgpt2.gateway.splitting import CUT_SHORT

_MARGIN = 2.0  # seconds that a machine may be slow, and the gateway's own last words may take


async def a_message_delivered_again_is_answered_once(platform: Platform, folder: Path) -> None:
    """Duplicate delivery: before the answer, and after it, and after a restart."""
    async with process(platform, folder) as bot:
        for _ in range(3):
            await bot.say("你好", 1)
        await bot.sees(answer_to("你好"))
        await bot.say("你好", 1)
        await bot.say("再见", 2)
        await bot.sees(answer_to("你好"), answer_to("再见"))
    async with process(platform, folder) as bot:
        await bot.say("再见", 2)
        await bot.say("又来了", 3)
        await bot.sees(answer_to("你好"), answer_to("再见"), answer_to("又来了"))


async def messages_out_of_order_are_each_answered_once(platform: Platform, folder: Path) -> None:
    """Reordering: each gets its own answer, in the order in which they were delivered."""
    async with process(platform, folder) as bot:
        for number in (2, 1, 3, 2):
            await bot.say(f"第{number}条", number)
        await bot.sees(*(answer_to(f"第{number}条") for number in (2, 1, 3)))


async def what_was_accepted_is_answered_after_a_crash(platform: Platform, folder: Path) -> None:
    """A crash between accepting and replying."""
    async with process(platform, folder, grace=0) as bot:
        bot.speaker.hold = True
        await bot.say("你好", 1)
        await bot.until(lambda: bot.speaker.begun, "the message was to reach the model")
        await bot.say("在吗", 2)
        await bot.until(lambda: bot.gateway.tally.received == 2, "the second message was to be kept")
    assert platform.seen() == [], "nothing was to be sent before the crash"
    async with process(platform, folder) as bot:
        await bot.sees(answer_to("你好"), answer_to("在吗"))


async def a_refusal_for_now_loses_nothing(platform: Platform, folder: Path) -> None:
    """429: the adapter raises RetryLater, and what follows waits its turn."""
    async with process(platform, folder) as bot:
        platform.refuse("later")
        await bot.say("你好", 1)
        await bot.say("在吗", 2)
        await bot.sees(answer_to("你好"), answer_to("在吗"))
        assert bot.gateway.tally.retried == 1, "a refusal for now is RetryLater"
        assert bot.gateway.tally.repeated == 0, "a refusal is no doubt: raise RetryLater"


async def a_closed_window_drops_one_answer_only(platform: Platform, folder: Path) -> None:
    """A closed window: the adapter raises WindowClosed or Blocked."""
    async with process(platform, folder) as bot:
        platform.refuse("closed")
        await bot.say("你好", 1)
        await bot.until(lambda: bot.gateway.tally.dropped == 1, "an answer was to be dropped")
        await bot.say("在吗", 2)
        await bot.sees(answer_to("在吗"))


async def answers_are_as_long_as_the_platform_allows(platform: Platform, folder: Path) -> None:
    """Length boundaries, in the platform's own unit."""
    async with process(platform, folder) as bot:
        expected: list[str] = []
        for number, letter in enumerate(("汉", "😀", "a")):
            whole = letter * (bot.limits.max_length // length(letter, bot.limits.unit))
            bot.speaker.replies += [whole, whole + letter]
            await bot.say("说吧", 2 * number)
            await bot.say("再说", 2 * number + 1)
            expected += [whole, *_pieces(whole, letter, bot.limits)]
        await bot.sees(*expected)


def _pieces(whole: str, letter: str, limits: Limits) -> list[str]:
    """What people get of one letter more than a message holds."""
    if limits.sends_per_inbound != 1:
        return [whole, letter]
    room = limits.max_length - length(CUT_SHORT, limits.unit)
    return [letter * (room // length(letter, limits.unit)) + CUT_SHORT]


async def a_group_is_answered_when_the_bot_is_meant(platform: Platform, folder: Path) -> None:
    """A group message that is not addressed to the bot is passed over."""
    if not platform.groups:
        return
    async with process(platform, folder) as bot:
        await bot.say("说给别人", 1, chat="-7", group=True, addressed=False)
        await bot.say("说给你", 2, chat="-7", group=True, addressed=True)
        await bot.sees(answer_to("说给你"), chat="-7")
        assert bot.speaker.begun == 1, "what was not addressed to the bot reached the model"


async def a_reply_is_stopped_while_it_is_shown(platform: Platform, folder: Path) -> None:
    """Cancel during a preview: what was stopped never comes, and the conversation goes on."""
    async with process(platform, folder) as bot:
        bot.speaker.hold = True
        await bot.say("讲个长故事", 1)
        await bot.until(lambda: bot.speaker.begun, "the message was to reach the model")
        await asyncio.sleep(0.1)  # for a preview to be on its way
        await bot.say("/stop", 2)
        await bot.sees("好的，不说了。")
        bot.speaker.go_on()
        await bot.say("你好", 3)
        await bot.sees("好的，不说了。", answer_to("你好"))


async def it_ends_within_the_grace_period(platform: Platform, folder: Path) -> None:
    """Stop: also with a reply in the making, and nothing is left running."""
    before, grace, loop = asyncio.all_tasks(), 0.1, asyncio.get_running_loop()
    allowed = grace + supervising.STOPPING + _MARGIN
    try:
        async with asyncio.timeout(PATIENCE) as limit, process(platform, folder, grace=grace) as bot:
            bot.speaker.hold = True
            await bot.say("你好", 1)
            await bot.until(lambda: bot.speaker.begun, "the message was to reach the model")
            limit.reschedule(loop.time() + allowed)
    except TimeoutError:
        raise AssertionError(f"the adapter did not end within {allowed:g} s") from None
    assert bot.stopped, f"stop() failed, or did not end within {supervising.STOPPING:g} s"
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not left, f"these still run: {left}"


async def chats_are_kept_apart(platform: Platform, folder: Path) -> None:
    """Each answer goes to the chat that it belongs to."""
    async with process(platform, folder) as bot:
        await bot.say("你好", 1, chat="1")
        await bot.sees(answer_to("你好"), chat="1")
        await bot.say("在吗", 2, chat="2")
        await bot.sees(answer_to("在吗"), chat="2")
        assert platform.seen("1") == [answer_to("你好")], "an answer went to the wrong chat"


async def a_stranger_reads_first_that_an_ai_answers(platform: Platform, folder: Path) -> None:
    """Before anything else, and once."""
    async with process(platform, folder, notice="我是 AI。") as bot:
        await bot.say("你好", 1)
        first = f"我是 AI。\n{answer_to('你好')}"
        await bot.sees(first)
        await bot.say("在吗", 2)
        await bot.sees(first, answer_to("在吗"))


async def what_is_kept_of_a_person_goes_with_them(platform: Platform, folder: Path) -> None:
    """Erasing: the adapter's state keeps nothing of a person that was not kept `of` what they did."""
    async with process(platform, folder, grace=0) as bot:
        bot.speaker.replies += ["你知我知", "不可告人" * 20]
        await bot.say("天知地知", 1, chat="470011")
        await bot.sees("你知我知", chat="470011")
        bot.speaker.hold = True
        await bot.say("天知地知", 2, chat="470011")
        await bot.until(lambda: bot.speaker.begun == 2, "the message was to reach the model")
        await asyncio.sleep(0.1)  # for a preview to be on its way
    kept, ids = await left_after_erasing_everybody(folder)
    for said in ("天知地知", "你知我知", "不可告人", *(each for each in ids if len(each) > 5)):
        assert said not in kept, f"the state keeps {said} without `of`: {kept}"


CHECKS: tuple[Callable[[Platform, Path], Awaitable[None]], ...] = (
    a_message_delivered_again_is_answered_once,
    messages_out_of_order_are_each_answered_once,
    what_was_accepted_is_answered_after_a_crash,
    a_refusal_for_now_loses_nothing,
    a_closed_window_drops_one_answer_only,
    answers_are_as_long_as_the_platform_allows,
    a_group_is_answered_when_the_bot_is_meant,
    a_reply_is_stopped_while_it_is_shown,
    it_ends_within_the_grace_period,
    chats_are_kept_apart,
    a_stranger_reads_first_that_an_ai_answers,
    what_is_kept_of_a_person_goes_with_them,
)
