"""``python -m benchmarks``: run the rows, print the table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from .rows import ROWS, Size, Task, tasks
from .run import available, compare, run
from .table import as_json, table

__all__ = ["FULL", "QUICK", "SMOKE", "main"]

FULL = Size(rounds=5, long_rounds=5, messages=1.0, sessions=(50, 100), window=1.0, settle=0.4, turns=6)
QUICK = Size(rounds=2, long_rounds=1, messages=0.06, sessions=(50,), window=0.5, settle=0.2, turns=2)
SMOKE = Size(rounds=1, long_rounds=1, messages=0.003, sessions=(2,), window=0.4, settle=0.2, turns=2)
_NAMES = ("full", "quick", "smoke")


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if every turn of every client came to an end with the right bytes, else 1."""
    asked = arguments(argv)
    if asked.list:
        print("\n".join(f"{row.key:20} {row.told}" for row in ROWS))
        return 0
    size: Size = {"full": FULL, "quick": QUICK, "smoke": SMOKE}[asked.size]
    rounds: int | None = asked.rounds
    work = [task for task in tasks(size) if any(_chosen(row, asked.rows) for row in task.rows)]
    clients = available() - set(asked.without)

    def rounds_of(task: Task) -> int:
        return rounds or (size.long_rounds if task.long else size.rounds)

    samples, failures = run(work, clients, rounds_of, lambda news: print(news, file=sys.stderr, flush=True))
    lines = [line for line in compare(ROWS, samples) if _chosen(line.row.key, asked.rows)]
    print(table(lines, samples))
    for failure in failures:
        print(f"FAILED: {failure}")
    if asked.json is not None:
        asked.json.write_text(json.dumps(as_json(lines, samples, failures), indent=1) + "\n")
    return 1 if failures else 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="How fast meshapi_rt is beside its peers."
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to run, such as 'receive_*'; all by default")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to a file")
    parser.add_argument("--rounds", type=int, help="rounds of every row")
    parser.add_argument("--without", action="append", default=[], metavar="CLIENT", help="leave one out; repeatable")
    parser.add_argument("--size", choices=_NAMES, default="full", help=argparse.SUPPRESS)
    quick = "less of all, in two minutes"
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", default="full", help=quick)
    return parser.parse_args(argv)


def _chosen(row: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch(row, pattern) for pattern in patterns)


if __name__ == "__main__":
    sys.exit(main())
