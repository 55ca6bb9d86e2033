"""One check after the other: each within its limit, none of them behind one that it needs and that failed."""

from __future__ import annotations

import enum
import itertools
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import attrs

from ...errors import MeshAPIError, TimedOut
from ...waiting import Wait, taken

__all__ = ["Check", "Finding", "Result", "Status", "examine", "fail", "ok", "skip", "warn"]

_GRACE = 1.5  # seconds beyond its limit for a check to tell by itself, better than from here, what it waited for
_numbers = itertools.count(1)


class Status(str, enum.Enum):
    """What came of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@attrs.frozen
class Finding:
    """What a check found: in one sentence for people, with the remedy, and as facts for programs."""

    status: Status
    told: str
    facts: Mapping[str, Any] = attrs.field(factory=dict)


def ok(told: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(Status.OK, told, facts)


def warn(told: str, **facts: Any) -> Finding:
    """Something is odd, or not there; what is needed works all the same."""
    return Finding(Status.WARN, told, facts)


def fail(told: str, **facts: Any) -> Finding:
    """Something that is needed does not work."""
    return Finding(Status.FAIL, told, facts)


def skip(told: str, **facts: Any) -> Finding:
    """There is nothing to look at."""
    return Finding(Status.SKIP, told, facts)


@attrs.frozen
class Check:
    """One thing to look at.

    Attributes:
        name: A word or two.
        look: Looks at it, within the wait that it gets. An exception is a failure.
        needs: The names of the checks without which this one cannot tell anything.
        optional: A session does without it, so that a failure is no more than a warning.
    """

    name: str
    look: Callable[[Wait], Finding]
    needs: tuple[str, ...] = ()
    optional: bool = False


@attrs.frozen
class Result:
    """A check that was done.

    Attributes:
        name: Of the check.
        finding: What it found.
        seconds: How long it took.
    """

    name: str
    finding: Finding
    seconds: float


def examine(
    checks: Iterable[Check], timeout: float, cancel: threading.Event, begin: Callable[[str], object]
) -> Generator[Result, None, None]:
    """Do one check after the other.

    Args:
        checks: Each behind those that it needs.
        timeout: Seconds for each.
        cancel: Ends the check under way.
        begin: Called with the name of each check that is about to be done.
    """
    missing: dict[str, list[str]] = {}  # checks that failed or were left out, and the failures behind that
    worker = _Worker()
    try:
        for check in checks:
            roots = list(dict.fromkeys(root for name in check.needs for root in missing.get(name, ())))
            if roots:
                missing[check.name] = roots
                yield Result(check.name, skip(f"left out: it needs what failed above ({', '.join(roots)})"), 0.0)
                continue
            begin(check.name)
            began = time.monotonic()
            finding = _look(check, worker, Wait(timeout, cancel))
            if finding.status is Status.FAIL:
                missing[check.name] = [check.name]
            yield Result(check.name, finding, time.monotonic() - began)
    finally:
        worker.dismiss()


def _look(check: Check, worker: _Worker, wait: Wait) -> Finding:
    verdict = warn if check.optional else fail
    try:
        return worker.do(lambda: check.look(wait), Wait((wait.timeout or 0.0) + _GRACE))
    except (MeshAPIError, OSError) as exc:
        return verdict(str(exc) or type(exc).__name__)
    except Exception as exc:  # noqa: BLE001 - the other checks may still tell what the matter is
        return verdict(f"{type(exc).__name__}: {exc} (a bug of meshapi-rt: please report it)")


class _Worker:
    """Does one thing after the other on a thread that may be left behind: not everything can be interrupted.

    One thread, as some systems want a sound device to be used by the thread that asked for it first. It ends with
    :meth:`dismiss`, or when what hung in it returns; a daemon, it holds up nobody's exit.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] | None = None

    def do(self, action: Callable[[], Finding], wait: Wait) -> Finding:
        """Return what *action* returns, or raise what it raises; ``TimedOut`` when the time is up."""
        answers: queue.SimpleQueue[Finding | BaseException] = queue.SimpleQueue()

        def job() -> None:
            try:
                answers.put(action())
            except BaseException as exc:  # noqa: BLE001 - raised below
                answers.put(exc)

        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            name = f"meshapi-rt-doctor-{next(_numbers)}"
            threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()
        self._jobs.put(job)
        while True:
            nap = wait.slice()
            try:
                answer = taken(answers, nap)
            except queue.Empty:
                if nap == 0:
                    self.dismiss()
                    raise TimedOut("it hangs, and was given up: nothing came of it in time; see --timeout") from None
                continue
            if isinstance(answer, BaseException):
                raise answer
            return answer

    def dismiss(self) -> None:
        """Let the thread end with what it does now."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None


def _work(jobs: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
