"""Runs tasks: one server; in each round a fresh process for each client; their turns interleaved."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from meshapi_rt import codecs

from .process import ROOT, TurnFailed, Worker, python
from .rows import CORE, SPEED, Goal, Row, Task

__all__ = ["Comparison", "Ports", "Samples", "available", "compare", "environment", "run", "server", "turn"]

Samples = dict[str, dict[str, list[float]]]
"""Figures by row, client and round."""
_IMPORTS = {
    SPEED: "import meshapi_rt",
    CORE: "import meshapi_rt",
    "meshapi": "import meshapi",
    "openai": "import openai",
    "libraries": "import attr, attrs, websocket",
}
_IMPORT_REPEATS = 3


class Ports(NamedTuple):
    """Where the server listens, and the file with the authority behind its certificate."""

    plain: int
    tls: int
    authority: Path


def available() -> set[str]:
    """Return the clients that can be run here."""
    names = {CORE, "naive", "raw", "numpy", "libraries", "pumped core", "bare core"} | {
        name for name in ("meshapi", "openai") if find_spec(name)
    }
    found = codecs.chosen()
    fast = found.loads is not codecs.plain_loads and found.encode_base64 is not codecs.plain_encode_base64
    fast = fast and found.mask is not None
    return names | {SPEED, "pumped", "bare"} if fast else names


@contextlib.contextmanager
def server() -> Iterator[Ports]:
    """Have a server process for as long as the context lasts."""
    import trustme  # noqa: PLC0415 - whoever only asks for the rows does without it

    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "authority.pem"), Path(folder, "server.pem")
        authority.cert_pem.write_to_path(str(ours))
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(theirs))
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "benchmarks.server", str(theirs)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            yield Ports(**json.loads(process.stdout.readline()), authority=ours)
            process.stdin.close()


def run(
    tasks: Sequence[Task], clients: set[str], rounds: Callable[[Task], int], tell: Callable[[str], None]
) -> tuple[Samples, list[str]]:
    """Run every task; return its figures and what failed.

    Args:
        tasks: The work.
        clients: Who may take part.
        rounds: How many rounds a task has.
        tell: Is told of the progress.
    """
    samples: Samples = defaultdict(lambda: defaultdict(list))
    failures: list[str] = []
    with server() as ports:
        for task in tasks:
            names = [name for name in task.clients if name in clients]
            for number in range(rounds(task)):
                tell(f"{task.name}{' over TLS' if task.tls else ''}: round {number + 1} of {rounds(task)}")
                figures, failed = _round(task, names, number, ports)
                failures += [f"{task.name}, {failure}" for failure in failed]
                for row in task.rows:
                    for name in names:
                        samples[row][name].append(figures.get(name, {}).get(row, float("nan")))
    return samples, failures


def _round(
    task: Task, names: Sequence[str], number: int, ports: Ports
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Let every client take its turns, each in a fresh process; return their figures by client, and what failed."""
    if task.name == "import":
        return {name: _imports(name, environment(name, ports)) for name in _turned(names, number)}, []
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(environment(name, ports))) for name in names}
        for more in range(task.turns):
            for name in _turned(names, number + more):
                if name not in failed:
                    try:
                        taken[name].append(workers[name].turn(turn(task, name, ports)))
                    except TurnFailed as exc:
                        failed[name] = str(exc)
    figures = {name: _typical(of_turns) for name, of_turns in taken.items() if name not in failed}
    return figures, [f"{name}: {why}" for name, why in failed.items()]


def _turned(names: Sequence[str], by: int) -> list[str]:
    first = by % len(names)
    return [*names[first:], *names[:first]]


def _typical(turns: list[dict[str, float]]) -> dict[str, float]:
    return {row: statistics.median(figures[row] for figures in turns) for row in turns[0]}


def environment(name: str, ports: Ports) -> dict[str, str]:
    """Return the environment of a worker: our mode, the authority to trust, and no proxy."""
    left_out = ("_proxy", "meshapi_rt_pure", "pythondontwritebytecode")  # packages have theirs, so shall we
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith(left_out)}
    env["SSL_CERT_FILE"] = str(ports.authority)
    if name.endswith(" core"):
        env["MESHAPI_RT_PURE"] = "1"
    return env


def turn(task: Task, name: str, ports: Ports) -> dict[str, Any]:
    """Return what a worker is to be asked for."""
    url = f"https://127.0.0.1:{ports.tls}" if task.tls else f"http://127.0.0.1:{ports.plain}"
    options = task.options
    if name == "naive":  # it would hold everybody up
        options = {key: _tenth(value) for key, value in options.items()}
    return {
        "task": task.name,
        "client": "ours" if name == SPEED else name.removesuffix(" core"),
        "url": url,
        "options": options,
    }


def _tenth(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tenth(count) for key, count in value.items()}
    return max(10, value // 10) if isinstance(value, int) else value


def _imports(name: str, env: dict[str, str]) -> dict[str, float]:
    code = f"import numpy, time; t = time.perf_counter(); {_IMPORTS[name]}; print(1000 * (time.perf_counter() - t))"
    return {"import": statistics.median(float(python(["-c", code], env)) for _ in range(_IMPORT_REPEATS))}


class Comparison(NamedTuple):
    """One line of the table: a figure of ours, against a peer or alone.

    Attributes:
        row: What was measured.
        mode: Which of our modes.
        goal: Against whom, and the limits.
        ours: Our median.
        theirs: The peer's; ``None`` where there is none.
        value: The median over the rounds of ours divided by theirs, or of ours.
        low: The least of them.
        high: The largest.
    """

    row: Row
    mode: str
    goal: Goal
    ours: float
    theirs: float | None
    value: float
    low: float
    high: float

    @property
    def limit(self) -> float | None:
        """The goal for this mode; ``None`` for none."""
        return self.goal.limit(self.mode)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; ``None`` without one."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.row.more_is_better else self.value <= self.limit


def compare(rows: Sequence[Row], samples: Samples) -> list[Comparison]:
    """Return a line for every row, mode and peer that has figures."""
    lines = []
    for row in rows:
        of_row = samples.get(row.key, {})
        for mode in (SPEED, CORE):
            for goal in row.goals:
                if mode == CORE and f"{goal.against} core" in of_row:  # the least is that of the same libraries
                    goal = goal._replace(against=f"{goal.against} core")  # noqa: PLW2901
                line = _line(row, mode, goal, of_row)
                if line is not None:
                    lines.append(line)
    return lines


def _line(row: Row, mode: str, goal: Goal, figures: dict[str, list[float]]) -> Comparison | None:
    ours = figures.get(mode, [])
    theirs = figures.get(goal.against, []) if goal.against else [1.0] * len(ours)
    pairs = [(mine, other) for mine, other in zip(ours, theirs, strict=False) if not math.isnan(mine + other)]
    if not pairs:
        return None
    ratios = [mine / other for mine, other in pairs if other] or [float("nan")]
    return Comparison(
        row=row,
        mode=mode,
        goal=goal,
        ours=statistics.median(mine for mine, _ in pairs),
        theirs=statistics.median(other for _, other in pairs) if goal.against else None,
        value=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
    )
