"""What a user sees of the checks: a line each on stdout, and on a terminal the one under way."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence

from ...secret import Secret
from ..terminal import Screen, one_line
from .checkup import Result, Status

__all__ = ["Report"]

_COLOURS = {Status.OK: "32", Status.WARN: "33", Status.FAIL: "1;31", Status.SKIP: "2"}
_WIDTH = 11  # of the longest name
_SECRET_LENGTH = 8  # characters; a shorter token is a word such as "local", which may stand anywhere


class Report:
    """Shows results.

    Args:
        screen: Where.
        json: Write a line of JSON for each, rather than one for people.
    """

    def __init__(self, screen: Screen, *, json: bool) -> None:
        self._screen = screen
        self._json = json
        self._colours = not json and screen.styled
        token = max(re.split(r"[\s'\"]+", os.environ.get("MESHAPI_TOKEN", "")), key=len)
        # Nothing here shows it on purpose; but it may have been typed where a model or a URL belongs.
        self._redact = Secret(token).redact if len(token) >= _SECRET_LENGTH else str

    def begin(self, name: str) -> None:
        """Show what is looked at now."""
        self._screen.status(f"      {name} ...")

    def show(self, result: Result) -> None:
        """Show what came of it."""
        self._screen.wipe_status()
        told = self._redact(one_line(result.finding.told))
        status = result.finding.status
        if self._json:
            line = {"check": result.name, "status": status.value, "message": told, "seconds": round(result.seconds, 3)}
            facts = self._redact(json.dumps(result.finding.facts))
            self._screen.out(json.dumps({**line, "facts": json.loads(facts)}) + "\n")
            return
        word = f"{status.value if status is not Status.FAIL else 'FAIL':<4}"
        if self._colours:
            word = f"\x1b[{_COLOURS[status]}m{word}\x1b[0m"
        self._screen.out(f"{word}  {result.name:<{_WIDTH}}  {told}\n")

    def sum_up(self, results: Sequence[Result]) -> None:
        """Say what it all comes to."""
        if self._json:
            return
        failed = [result.name for result in results if result.finding.status is Status.FAIL]
        warnings = [result.name for result in results if result.finding.status is Status.WARN]
        told = f"Something is wrong with: {', '.join(failed)}." if failed else "Everything that is needed works."
        if warnings:
            told += f" Worth a look: {', '.join(warnings)}."
        self._screen.out(told + "\n")
