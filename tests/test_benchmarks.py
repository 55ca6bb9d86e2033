"""The benchmarks still run: every row, with every client that is here, in sizes that say nothing about speed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("trustme")
pytest.importorskip("psutil")

from benchmarks.__main__ import FULL, SMOKE, arguments, main
from benchmarks.process import Stuck, TurnFailed, Worker, python
from benchmarks.rows import CORE, ROWS, SPEED, Goal, Row, tasks
from benchmarks.run import Ports, available, compare, environment, server, turn

STEPS = [("send", "caller"), ("trip", "caller"), ("trip", "reader"), ("listen", "reader"), ("listen", "listener")]
CLIENTS = (SPEED, CORE, "meshapi", "openai", "naive", "pumped", "pumped core", "bare", "bare core", "raw", "numpy")


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    with server() as found:
        yield found


@pytest.mark.parametrize("client", CLIENTS)
def test_every_task_runs(client: str, ports: Ports) -> None:
    """A client does each of its tasks, with the right bytes, and each gives the figures of its rows."""
    if client not in available():
        pytest.skip(f"{client} is not installed")
    work = [task for task in tasks(SMOKE) if client in task.clients and task.name != "import"]

    with Worker(environment(client, ports), patience=45) as worker:
        for task in [one for one in work for _ in range(one.turns)]:
            try:
                figures = worker.turn(turn(task, client, ports))
            except Stuck:
                if client in (SPEED, CORE):
                    raise
                pytest.skip(f"{client} hangs now and then, where it reads and writes one TLS connection on two threads")
            assert set(task.rows) <= set(figures), task.name
            assert all(math.isfinite(figures[row]) for row in task.rows), task.name


def test_a_turn_that_fails(ports: Ports) -> None:
    """A client that cannot take its turn is told apart from the others, by what its process said."""
    broken = {"task": "round_trip", "client": "bare", "url": "http://127.0.0.1:1", "options": {"count": 1}}

    with Worker(environment("bare", ports), patience=45) as worker, pytest.raises(TurnFailed, match="refused"):
        worker.turn(broken)
    with Worker(environment("bare", ports), patience=0.01) as worker, pytest.raises(Stuck):
        worker.turn(broken)


def test_a_session_holds_nothing_of_the_benchmark(ports: Ports) -> None:
    """What the benchmark itself needs is loaded before memory is looked at: a turn of live sessions loads nothing."""
    code = f"""if True:
        import sys
        from benchmarks.live import Duplex
        turns = Duplex("ours", "http://127.0.0.1:{ports.plain}", sessions=1, settle=0.2, window=0.4)
        before = set(sys.modules)
        turns()
        print(*(name for name in sys.modules if name not in before and name.startswith(("numpy", "psutil"))))
    """

    loaded = python(["-c", code], environment(SPEED, ports), patience=45)

    assert loaded.split() == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command runs chosen rows, prints a table and writes a file."""
    file = tmp_path / "figures.json"
    left_out = [f"--without={client}" for client in (SPEED, "meshapi", "openai", "naive")]

    status = main(["receive_20", "import", "--size=smoke", "--rounds=1", f"--json={file}", *left_out])

    out = capsys.readouterr().out
    written = json.loads(file.read_text())
    assert status == 0, out
    assert "| receive and decode deltas of 20 ms" in out
    assert {line["row"] for line in written["rows"]} == {"receive_20", "import"}
    assert written["machine"]["versions"]["numpy"]


@pytest.mark.parametrize(("given", "size"), [([], "full"), (["--quick"], "quick"), (["--size=smoke"], "smoke")])
def test_sizes(given: list[str], size: str) -> None:
    """The whole is the default, and --quick asks for less."""
    assert arguments(given).size == size


def test_each_row_has_a_task() -> None:
    """No row of the table goes without something that feeds it, in the full size."""
    fed = {row for task in tasks(FULL) for row in task.rows}

    assert {row.key for row in ROWS} <= fed


@pytest.mark.parametrize(
    ("more_is_better", "ours", "theirs", "value", "met"),
    [
        (True, [30.0, 10.0, 60.0], [10.0, 10.0, 10.0], 3.0, True),
        (True, [30.0, float("nan"), 20.0], [10.0, 10.0, 10.0], 2.5, False),
        (False, [3.0, 1.0, 4.0], [10.0, 2.0, 10.0], 0.4, True),
    ],
)
def test_ratios(more_is_better: bool, ours: list[float], theirs: list[float], value: float, met: bool) -> None:
    """A comparison is the median of the ratios of the rounds in which both came to an end."""
    row = Row(
        "speed", "speed", "m/s", more_is_better, (Goal("peer", 3.0, 3.0) if more_is_better else Goal("peer", 0.4, 0.4),)
    )

    (line,) = compare([row], {"speed": {CORE: ours, "peer": theirs}})

    assert line.value == pytest.approx(value)
    assert line.met is met


def test_a_row_without_figures_is_left_out() -> None:
    """Where a peer is missing, its comparisons are missing too, and nothing else."""
    row = Row("speed", "speed", "m/s", True, (Goal("peer", 3.0, 3.0), Goal("", 5.0, 5.0)))

    (line,) = compare([row], {"speed": {SPEED: [6.0, 4.0, 7.0]}})

    assert (line.goal.against, line.value, line.low, line.high, line.met) == ("", 6.0, 4.0, 7.0, True)


def test_steps(ports: Ports) -> None:
    """What a message takes is counted for each thread, and ours are few; the machine has no say in it."""
    told = python(["-m", "benchmarks.steps", "ours", "--functions=3"], environment(SPEED, ports), patience=45)

    taken = {
        (way, who): int(number)
        for way, block in re.findall(r"^(\w+): (.*?)(?=^\w|\Z)", told, re.MULTILINE | re.DOTALL)
        for who, number in re.findall(r"ours +(\w+) +(\d+) instructions", block)
    }
    assert set(taken) == set(STEPS)
    assert all(taken.values()), told
    assert taken["send", "caller"] < 300, told
    assert taken["trip", "reader"] < 800, told
