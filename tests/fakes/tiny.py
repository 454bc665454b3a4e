"""A model that is quickly made and knows nothing."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from chatgpt2.card import Card
from chatgpt2.checkpoint import create_model, save_checkpoint
from chatgpt2.codec import Codec
from chatgpt2.engine.base import EngineOptions
from chatgpt2.loading import open_model, openvino_installed
from chatgpt2.vocabulary import SPECIAL, vocabulary_hash

LETTERS = "天地人你我他好吗呢吧啊呀的了在有不这那说看想来去上下大小多少早晚今明昨日月年水火木金土山河花草鸟鱼"


def tiny_model(folder: Path, name: str = "小模型") -> Path:
    """Its directory in `folder`. Where OpenVINO is installed it is converted, so a process serves it at once."""
    return Path(shutil.copytree(_made(), folder / name, dirs_exist_ok=True))


@cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    codec = Codec([*SPECIAL, *LETTERS], 128)
    card = Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=128)
    save_checkpoint(folder, create_model("tiny", codec), codec, card)
    if openvino_installed():
        with ThreadPoolExecutor(1) as elsewhere:  # the caller may be in an event loop
            elsewhere.submit(_convert, folder).result()
    return folder


def _convert(folder: Path) -> None:
    served = open_model(folder, EngineOptions("openvino", device="cpu", threads=1), folder)
    asyncio.run(served.engine.close())
