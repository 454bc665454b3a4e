from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from chatgpt2.bots.terminal import Terminal
from chatgpt2.cli import talk
from chatgpt2.cli.chat import chat
from chatgpt2.cli.conversation import Conversation, terminal_key
from chatgpt2.cli.home import note_latest
from chatgpt2.cli.sessions import sessions
from chatgpt2.engine.base import EngineOptions, SamplingParams
from chatgpt2.errors import ChatGPT2Error, CheckpointError, ConfigError, EngineError
from chatgpt2.serving import Serving
from chatgpt2.store import SessionKey, SessionStore

sys.path.append(str(Path(__file__).parents[1]))
from fakes.talking import Letters, Scripted


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHATGPT2_HOME", str(tmp_path))
    monkeypatch.delenv("CHATGPT2_DATABASE", raising=False)
    return tmp_path


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[talk.Talk, Scripted]]:
    """Models that need no torch; what was loaded, in order."""
    models: list[tuple[talk.Talk, Scripted]] = []

    def load(source: str, options: talk.Talk, notify: Callable[[str, str], None]) -> Any:
        if source == "broken":
            raise CheckpointError("broken is not a model directory.")
        if source == "fresh":
            notify("converting", "")
        models.append((options, Scripted()))
        return Serving(models[-1][1], Letters(), SamplingParams(top_k=7), name="小智@1")

    monkeypatch.setattr(talk, "_load", load)
    return models


def run(*arguments: str, command: Any = chat, stdin: str | bytes = "") -> Result:
    """Run a command; what the program's own main would print as an error is raised."""
    result = CliRunner().invoke(command, arguments, input=stdin)
    if isinstance(result.exception, ChatGPT2Error):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.mark.usefixtures("loaded")
def test_once_prints_just_the_reply_and_keeps_the_turn() -> None:
    result = run("--model", "m", "--once", "你好")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "答1\n", "")
    run("--model", "m", "--once", "/help")
    shown = json.loads(run("show", "default", "--json", command=sessions).stdout)
    assert [turn["text"] for turn in shown["record"]] == ["你好", "答1", "/help", "答1"]
    assert shown["record"][1]["model"].startswith("小智@")


def test_each_line_of_a_pipe_gets_a_line(loaded: list[tuple[talk.Talk, Scripted]]) -> None:
    result = run("--model", "m", "--session", "管道", stdin="一\n\n二\n/undo\n三\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["答1", "答2", "已撤回「二」和它的回答。", "答3"]
    assert [prompt for prompt, _ in loaded[0][1].asked] == ["一", "一|答1|二", "一|答1|三"]


def test_another_model_goes_on_with_the_conversation(loaded: list[tuple[talk.Talk, Scripted]]) -> None:
    result = run("--model", "m", stdin="一\n二\n/model other\n三\n/model\n")
    assert result.stdout.splitlines()[-3:] == ["已换成 other。", "答1", "要换哪个模型？/model 目录"]
    old, new = (engine for _, engine in loaded)
    assert [prompt for prompt, _ in old.asked] == ["一", "一|答1|二"]
    assert [prompt for prompt, _ in new.asked] == ["一|答1|二|答2|三"]
    assert (old.closed, new.closed) == (1, 1)


@pytest.mark.usefixtures("loaded")
async def test_a_bad_model_leaves_the_old_one_answering(home: Path) -> None:
    async with talk._opened(options(home), print) as (conversation, _):
        said = [text async for text in conversation.answer_kindly("/model broken")]
        assert "broken is not a model directory" in said[-1]
        assert [text async for text in conversation.answer_kindly("你好")][-1] == "答1"


@pytest.mark.parametrize(("name", "refused"), [("auto", True), ("remote", True), ("pytorch", False)])
def test_a_remote_model_is_exchanged_on_its_server(name: str, refused: bool, home: Path) -> None:
    engine = EngineOptions(name, url="http://127.0.0.1:9")
    asked = talk.Talk("m", False, "default", "", engine, {})
    with pytest.raises(ConfigError if refused else CheckpointError) as caught:
        talk._load(str(home / "other"), asked, lambda: None)
    assert ("remote server's" in str(caught.value)) == refused


@pytest.mark.usefixtures("loaded")
def test_a_model_that_is_prepared_first_says_so_on_stderr() -> None:
    result = run("--model", "fresh", "--once", "你好")
    assert result.stdout == "答1\n"
    assert "正在为这台机器准备模型" in result.stderr


def test_the_remote_engine_is_told_where_and_its_key_only_by_the_environment(
    loaded: list[tuple[talk.Talk, Scripted]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATGPT2_ENGINE_KEY", "secret")
    monkeypatch.setenv("CHATGPT2_ENGINE", "remote")
    run("--model", "m", "--engine-url", "http://127.0.0.1:8000", "--once", "你好")
    engine = loaded[0][0].engine
    assert (engine.name, engine.url, engine.key) == ("remote", "http://127.0.0.1:8000", "secret")
    assert "secret" not in repr(engine)


def test_the_latest_model_is_taken_and_said(loaded: list[tuple[talk.Talk, Scripted]], home: Path) -> None:
    (home / "models").mkdir()
    note_latest(home / "models")
    result = run("--once", "你好")
    assert result.stdout == "答1\n"
    assert result.stderr == f"模型：{home / 'models'}（最近训练的）\n"
    assert loaded[0][0].model == str(home / "models")


def test_without_any_model_it_says_how_to_make_one(home: Path) -> None:
    with pytest.raises(CheckpointError, match="run `chatgpt2 train-dialog CORPUS`"):
        run("--once", "你好")
    note_latest(home / "gone")
    with pytest.raises(CheckpointError, match=r"gone, is gone: give --model DIR"):
        run("--once", "你好")


@pytest.mark.usefixtures("loaded")
def test_a_model_that_does_not_load() -> None:
    with pytest.raises(CheckpointError, match="broken is not a model directory"):
        run("--model", "broken", "--once", "你好")
    with pytest.raises(CheckpointError, match="broken is not a model directory"):
        run("--model", "broken", stdin="你好\n")


def test_sampling_flag_then_session_then_model(loaded: list[tuple[talk.Talk, Scripted]]) -> None:
    run("--model", "m", stdin="一\n/set top_k 5\n二\n")
    run("--model", "m", "--top-k", "3", "--max-new-tokens", "9", "--seed", "1", stdin="三\n")
    asked = [params for _, engine in loaded for _, params in engine.asked]
    assert [params.top_k for params in asked] == [7, 5, 3]
    assert (asked[2].max_new_tokens, asked[2].seed) == (9, 1)


def test_options_are_checked_before_anything_is_loaded(loaded: list[tuple[talk.Talk, Scripted]]) -> None:
    with pytest.raises(ConfigError, match="temperature is 99"):
        run("--model", "m", "--temperature", "99", "--once", "你好")
    with pytest.raises(ConfigError, match="cannot be a session's name"):
        run("--model", "m", "--session", " ", "--once", "你好")
    with pytest.raises(ConfigError, match="The message is empty"):
        run("--model", "m", "--once", " ")
    assert len(loaded) == 1


@pytest.mark.usefixtures("loaded")
def test_invalid_bytes_on_stdin_are_survived() -> None:
    assert run("--model", "m", stdin=b"\xc4\xe3\xba\xc3\n").stdout == "答1\n"


@pytest.mark.usefixtures("loaded")
def test_list_show_and_delete() -> None:
    assert "no sessions yet" in run("list", command=sessions).stderr
    assert run("list", "--json", command=sessions).stdout == "[]\n"
    run("--model", "m", stdin="一\n二\n/undo\n三\n/retry\n")
    run("--model", "m", "--session", "工作", "--once", "你好")
    lines = run("list", command=sessions).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["工作  (2 turns)", "default  (4 turns, 3 removed)"]
    lines = run("show", "default", command=sessions).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        *("user  一", "bot   答1", "user  二  [undo]", "bot   答2  [undo]"),
        *("user  三", "bot   答3  [retry]", "bot   答4"),
    ]
    assert run("delete", "default", command=sessions, stdin="n\n").exit_code == 1
    assert "Delete session default with its 7 turns" in run("delete", "default", command=sessions).output
    assert run("delete", "default", "--yes", command=sessions).stdout == "Deleted session default.\n"
    listed = json.loads(run("list", "--json", command=sessions).stdout)
    assert [(each["name"], each["platform"], each["turns"]) for each in listed] == [("工作", "terminal", 2)]


@pytest.mark.parametrize("action", ["show", "delete"])
def test_a_session_that_is_not_there(action: str) -> None:
    with pytest.raises(ConfigError, match="no session 'nobody'"):
        run(action, "nobody", command=sessions)


def test_another_platforms_session_and_its_control_characters(home: Path) -> None:
    async def fill() -> None:
        async with await SessionStore.open(f"sqlite:///{home}/chatgpt2.db") as store:
            await store.append(SessionKey("telegram", chat="42"), "\x1b[31m红\n字", "\a好")

    asyncio.run(fill())
    shown = run("show", "telegram:42", command=sessions).stdout
    assert shown.endswith("user   [31m红 字\n" + shown.splitlines()[1] + "\n") and "\x1b" not in shown
    assert "\a" not in shown


def test_sessions_need_no_torch(home: Path) -> None:
    script = "import sys; from chatgpt2.cli.sessions import sessions as s; s(['list'], standalone_mode=False)"
    script += "; print([m for m in ('torch', 'transformers', 'alembic.command') if m in sys.modules])"
    asyncio.run(_make(home))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == "[]\n"


async def _make(home: Path) -> None:
    await (await SessionStore.open(f"sqlite:///{home}/chatgpt2.db")).close()


def options(home: Path, model: str = "m") -> talk.Talk:
    return talk.Talk(model, False, "default", f"sqlite:///{home}/chatgpt2.db", EngineOptions(), {})


@pytest.mark.usefixtures("loaded")
async def test_a_model_that_does_not_load_ends_the_terminal(home: Path) -> None:
    with create_pipe_input() as keys:
        terminal = Terminal(input=keys, output=DummyOutput())
        with pytest.raises(CheckpointError, match="broken is not a model directory"):
            async with talk._opened(options(home, "broken"), print) as (conversation, loading):
                await talk._until_left(terminal, conversation, loading)


@pytest.mark.usefixtures("loaded")
async def test_the_terminal_talks_and_leaves(home: Path) -> None:
    with create_pipe_input() as keys:
        keys.send_text("你好\r/session 别的\r/重试\r/退出\r")
        async with talk._opened(options(home), print) as (conversation, loading):
            await talk._until_left(Terminal(input=keys, output=DummyOutput()), conversation, loading)
            assert await conversation.turns() == 0
        async with await SessionStore.open(f"sqlite:///{home}/chatgpt2.db") as store:
            assert len(await store.load(terminal_key("default"))) == 2


async def said(conversation: Conversation, line: str) -> list[str]:
    return [text async for text in conversation.answer_kindly(line)]


@pytest.mark.usefixtures("loaded")
async def test_sessions_are_switched(home: Path) -> None:
    async with talk._opened(options(home), print) as (conversation, loading):
        await loading
        assert (await said(conversation, "一"))[-1] == "答1"
        assert await said(conversation, "/session 工作") == ["已换到会话 工作（新的）。"]
        assert await said(conversation, "/session") == ["现在的会话是 工作。换一个：/session 名称"]
        assert await said(conversation, "/retry") == ["还没有可以重答的话。"]
        assert await said(conversation, "／会话 default") == ["已换到会话 default（2 句）。"]
        assert (await said(conversation, "/retry"))[-1] == "答2"


async def test_a_failed_reply_is_told_and_the_conversation_goes_on(
    home: Path, loaded: list[tuple[talk.Talk, Scripted]]
) -> None:
    async def fail(*_: object) -> AsyncGenerator[Any]:
        raise EngineError("out of memory")
        yield

    async with talk._opened(options(home), print) as (conversation, loading):
        await loading
        engine = loaded[0][1]
        engine.generate = fail  # type: ignore[method-assign, assignment]
        assert await said(conversation, "一") == ["（这次没成：out of memory）"]
        del engine.generate
        assert (await said(conversation, "一"))[-1] == "答1"


async def test_who_stops_listening_stops_the_reply_and_nothing_of_it_is_kept(
    home: Path, loaded: list[tuple[talk.Talk, Scripted]]
) -> None:
    async with talk._opened(options(home), print) as (conversation, loading):
        await loading
        engine = loaded[0][1]
        engine.pause = asyncio.Event()
        answer = conversation.answer_kindly("讲个长故事")
        assert await anext(answer) == "答"
        await answer.aclose()
        assert (await said(conversation, "/history"))[-1] == "还没有说过话。"
        assert engine.running == 0
        engine.pause = None
        assert (await said(conversation, "你好"))[-1] == "答2"


@pytest.mark.usefixtures("loaded")
async def test_the_rules_of_bots_hold_in_the_terminal_too(home: Path) -> None:
    asked = replace(options(home), settings={"notice": "我是机器人。", "per-day": 1})
    async with talk._opened(asked, print) as (conversation, loading):
        await loading
        assert (await said(conversation, "一"))[-1] == "我是机器人。\n答1"
        assert await said(conversation, "二") == ["今天的次数用完了，明天再聊吧。"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A real model directory; its weights are random."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from chatgpt2.checkpoint import Card, save_checkpoint
    from chatgpt2.codec import Codec
    from chatgpt2.vocabulary import SPECIAL, vocabulary_hash

    vocabulary = [*SPECIAL, *"你好吗我很高兴认识今天气真不错，。！？"]
    codec = Codec(vocabulary, window=64)
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=64,
        n_embd=64,
        n_layer=1,
        n_head=1,
        bos_token_id=codec.cls_id,
        eos_token_id=codec.sep_id,
    )
    card = Card(vocabulary_hash=vocabulary_hash(vocabulary), window=64, sampling={"max_new_tokens": 16})
    save_checkpoint(tmp_path / "real", GPT2LMHeadModel(config), codec, card)
    return tmp_path / "real"


def test_a_real_model_talks(model: Path) -> None:
    result = run("--model", str(model), "--seed", "1", stdin="你好\n" * 8)
    replies = result.stdout.splitlines()
    assert len(replies) == 8 and all(replies)
    shown = json.loads(run("show", "default", "--json", command=sessions).stdout)
    assert [turn["text"] for turn in shown["record"][1::2]] == replies
    assert all(0 < turn["tokens"] <= 16 for turn in shown["record"][1::2])
    assert run("--model", str(model), "--session", "另一个", "--seed", "1", "--once", "你好").stdout == (
        replies[0] + "\n"
    )
