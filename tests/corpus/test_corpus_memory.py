from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from chatgpt2.corpus import read_corpus

DIALOGUE = ["你好，今天过得怎么样？" * 20, "还不错，谢谢关心，你呢？" * 20]


@pytest.mark.parametrize("layout", ["text", "array", "one line array", "jsonl", "csv"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, layout: str) -> None:
    one = json.dumps(DIALOGUE, ensure_ascii=False)
    content = {
        "text": "\n".join([*DIALOGUE, "", ""]) * 12_000,
        "array": "[\n" + ",\n".join([one] * 12_000) + "]",
        "one line array": '{"train": [' + ",".join([one] * 12_000) + "]}",
        "jsonl": f"{one}\n" * 12_000,
        "csv": "question,answer\n" + (",".join(DIALOGUE) + "\n") * 12_000,
    }[layout]
    path = tmp_path / "corpus"
    path.write_text(content, encoding="utf-8")
    size = path.stat().st_size
    del content
    tracemalloc.start()
    count = sum(1 for _ in read_corpus(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 12_000
    assert size > 16_000_000 > 2 * peak
