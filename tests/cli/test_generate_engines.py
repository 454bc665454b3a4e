"""`chatgpt2 generate` says the same whichever engine computes, whatever tokenizer the model has."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_models import POEMS, TEXTS

from chatgpt2.chat import ChatService
from chatgpt2.checkpoint import load_any
from chatgpt2.cli.generate import generate
from chatgpt2.errors import ChatGPT2Error
from chatgpt2.loading import in_torch
from chatgpt2.server.app import create_app
from chatgpt2.server.running import address, listen, running
from chatgpt2.store import SessionStore

GREEDY = ("--temperature", 0, "--repetition-penalty", 1, "--max-new-tokens", 30)
KNOWN = {"text_model": TEXTS, "char_model": POEMS}
PROMPTS = {"text_model": ("The monkey", "那猴王", "Once upon"), "char_model": ("床前", "举头望", "春")}

Case = tuple[Path, tuple[str, ...], tuple[str, ...]]


@pytest.fixture(params=KNOWN)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A copy of a model, which converted files are written beside; prompts, and how each goes on."""
    source: Path = request.getfixturevalue(request.param)
    return shutil.copytree(source, tmp_path / "model"), PROMPTS[request.param], KNOWN[request.param]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(generate, [str(each) for each in (*arguments, *GREEDY)])
    if isinstance(result.exception, ChatGPT2Error):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def check(model: Path, prompts: tuple[str, ...], known: tuple[str, ...], *engine: object) -> None:
    """One text is streamed; all are written together, each up to a string in the middle of a token or two."""
    assert run(model, prompts[0], *engine) == f"{known[0]}\n"
    stop = known[0][-4:-2]
    lines = run(model, *prompts, "--n", 2, "--stop", stop, "--json", *engine).splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["prompt"] for row in rows] == list(prompts)
    found = [[row["prompt"] + text for text in row["texts"]] for row in rows]
    assert found == [[text.split(stop)[0]] * 2 for text in known]
    assert all(row["finishes"] == ["stop"] * 2 for row in rows)


@pytest.mark.skipif(importlib.util.find_spec("openvino_genai") is None, reason="openvino is not installed")
def test_openvino_writes_what_pytorch_writes(
    case: Case,
) -> None:
    model, prompts, known = case
    check(model, prompts, known, "--engine", "openvino", "--threads", 1)
    check(model, prompts, known, "--engine", "pytorch")


@asynccontextmanager
async def served(model: Path, folder: Path) -> AsyncIterator[str]:
    """A server that gives token ids back, with the same model; its address."""
    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store:
        service = ChatService(in_torch(load_any(model)), store, overrides={"max_new_tokens": 30})
        with listen("127.0.0.1", 0) as bound:
            async with running(create_app(service, store), bound, 5):
                yield address(bound)
        await service.close()


async def test_a_server_writes_what_pytorch_writes_and_needs_no_weights_here(
    case: Case, tmp_path: Path
) -> None:
    model, prompts, known = case
    async with served(model, tmp_path) as url:
        (model / "model.safetensors").unlink()
        await asyncio.to_thread(check, model, prompts, known, "--engine-url", url)
