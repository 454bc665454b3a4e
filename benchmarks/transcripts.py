"""A conversation on every platform, printed as it was: real adapters, the real gateway, a trained model.

    python benchmarks/transcripts.py --model models/demo [--seed 1] [--out docs/transcripts.md]

The platforms are the strict fakes of the tests. With the same model, seed and machine the same is said again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes.transcript import PARTS, converse, paper

from chatgpt2.engine.base import EngineOptions
from chatgpt2.loading import open_model

HEAD = """# A conversation on every platform

Printed by `python benchmarks/transcripts.py`, and changed by nobody. The adapters, the gateway, the sessions and
the model are the real ones; the platforms are the strict fakes of `tests/fakes`, not yet the platforms themselves.

{model} People say here what people say in `corpus/`; the long text is not in it.
Sampling: {sampling}.

〔 〕 stands for what people do, what the platform shows besides, and what is left out here of a long line or was
printed before; （2/3） is the second of three messages.
"""
DEMO = """
That is what `make demo` does. So small a model knows its corpus by heart, and little besides, as one sees where the
long text is answered."""


async def written(model: Path, options: EngineOptions, sampling: dict[str, Any]) -> str:
    """All conversations, as Markdown."""
    serving = open_model(model, options, Path(tempfile.gettempdir()))
    how = ", ".join(f"{name} {value}" for name, value in sampling.items())
    texts, before = [HEAD.format(model=trained(model), sampling=how)], set[str]()
    try:
        for part in PARTS:
            with tempfile.TemporaryDirectory() as folder:
                heard = await converse(part, serving, Path(folder), sampling)
            texts.append(f"## {part.title}\n\n{part.shows}\n\n```text\n{paper(heard, before)}\n```\n")
    finally:
        await serving.engine.close()
    return "\n".join(texts)


def trained(model: Path) -> str:
    """How the model was trained, as its folder tells."""
    try:
        told = json.loads((model / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "The model's folder does not tell how it was trained."
    given = told["options"]
    corpus = " ".join(f"{Path(each).name}/" for each in given["corpus"])
    options = " ".join(f"--{name} {_written(given[name])}" for name in ("size", "dropout", "lr", "minutes"))
    command = f"chatgpt2 train-dialog {corpus} {options}"
    remark = DEMO if command.endswith(" corpus/ --size tiny --dropout 0 --lr 0.006 --minutes 3") else ""
    return f"The model was trained by `{command}` ({told['plan']['steps']} steps).{remark}"


def _written(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--out", type=Path, help="a file; otherwise it is printed")
    args = parser.parse_args()
    sampling = {
        "temperature": args.temperature,
        "repetition_penalty": args.repetition_penalty,
        "seed": args.seed,
    }
    text = asyncio.run(written(args.model, EngineOptions(), sampling))
    if args.out is None:
        print(text)
    else:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
