"""The result in words: a table, the machine and the versions, and the same as JSON."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .rows import CORE, SPEED
from .run import Comparison, Samples

__all__ = ["as_json", "machine", "table"]

_LIBRARIES = (
    "meshapi-rt",
    "meshapi",
    "openai",
    "websocket-client",
    "websockets",
    "numpy",
    "msgspec",
    "pybase64",
)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {name: _version(name) for name in _LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _short(value: float) -> str:
    if math.isnan(value):
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _goal(line: Comparison) -> str:
    if line.limit is None:
        return ""
    return f"{'≥' if line.row.more_is_better else '≤'} {line.limit:g}"


def _cells(line: Comparison) -> tuple[str, ...]:
    met = {True: "met", False: "MISSED", None: ""}[line.met]
    mark = " x" if line.goal.against else ""
    return (
        line.row.told,
        line.mode.removeprefix("ours "),
        f"{_short(line.ours)} {line.row.unit}",
        line.goal.against or "alone",
        "" if line.theirs is None else _short(line.theirs),
        f"{_short(line.value)}{mark}",
        f"{_short(line.low)}-{_short(line.high)}",
        _goal(line),
        met,
    )


def table(lines: Sequence[Comparison], samples: Samples) -> str:
    """Return the table as Markdown, with the machine above it."""
    facts = machine()
    rounds = sorted({len(figures) for of_row in samples.values() for figures in of_row.values()})
    told = ", ".join(f"{name} {number or 'absent'}" for name, number in facts["versions"].items())
    head = [
        f"{facts['python']}, {facts['system']}, {facts['cores']} cores ({facts['processor']})",
        told,
        f"rounds per row: {', '.join(map(str, rounds))}; ratios are ours / theirs, median (least-largest) over rounds",
        "",
    ]
    titles = ("what", "mode", "ours", "against", "theirs", "ratio", "spread", "goal", "")
    cells = [titles, tuple("---" for _ in titles), *map(_cells, lines)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(titles))]
    body = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([*head, *body])


def _number(value: float) -> float | None:
    """Return what JSON has for a figure: a turn that failed has none."""
    return None if math.isnan(value) else value


def as_json(lines: Sequence[Comparison], samples: Samples, failures: Sequence[str]) -> dict[str, Any]:
    """Return everything that was measured, for a file."""
    return {
        "machine": machine(),
        "modes": [SPEED, CORE],
        "rows": [
            {
                "row": line.row.key,
                "told": line.row.told,
                "unit": line.row.unit,
                "mode": line.mode,
                "against": line.goal.against,
                "ours": line.ours,
                "theirs": line.theirs,
                "value": line.value,
                "low": line.low,
                "high": line.high,
                "goal": line.limit,
                "more_is_better": line.row.more_is_better,
                "met": line.met,
            }
            for line in lines
        ],
        "samples": {
            row: {client: list(map(_number, taken)) for client, taken in of_row.items()}
            for row, of_row in samples.items()
        },
        "failures": list(failures),
    }
