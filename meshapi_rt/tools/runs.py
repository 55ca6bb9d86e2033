"""Running calls: each on a daemon thread of its own, and whatever happens there becomes a text for the model."""

from __future__ import annotations

import inspect
import itertools
import logging
import math
import threading
import time
import traceback
from collections.abc import Callable

import attrs

from ..waiting import seconds
from .box import Toolbox
from .calls import ToolCall, error_output, output_of
from .schema import BadArguments
from .tool import Approve, Tool

__all__ = ["Run", "ToolRunner"]

log = logging.getLogger("meshapi_rt")
_numbers = itertools.count(1)


def _unchanged(text: str) -> str:
    return text


class ToolRunner:
    """Starts calls of tools.

    Args:
        tools: Where to look a tool up.
        timeout: Seconds that a function may take, where its tool says nothing else; ``None`` for without limit.
        approve: Decides on each call, where its tool says nothing else; ``None`` lets all run.
        redact: Takes secrets out of what a model or a log is told of an exception.
    """

    def __init__(
        self,
        tools: Toolbox,
        *,
        timeout: float | None = 60.0,
        approve: Approve | None = None,
        redact: Callable[[str], str] = _unchanged,
    ) -> None:
        self.tools = tools
        self._timeout = seconds("tool_timeout", timeout)
        self._approve = approve
        self._redact = redact

    def start(self, call: ToolCall, tell: Callable[[], None]) -> Run:
        """Start a call, and return at once.

        Args:
            call: Which one.
            tell: Called when :meth:`Run.left` or :attr:`Run.ended` may say something new; on the call's thread.
        """
        tool = self.tools.get(call.name)
        limit = self._timeout if tool is None or tool.timeout == "default" else tool.timeout
        approve = self._approve if tool is None or tool.approve is None else tool.approve
        run = Run(call, tool, limit=limit, approve=approve, redact=self._redact, tell=tell)
        run.start()
        return run


class Run:
    """One call, from its start to the first of: a result, a failure, its time limit, nobody waiting any more.

    What comes later is dropped and logged.

    Threads:
        The call has a daemon thread, ``meshapi-rt-tool-N``, which ends with the user's function: one that hangs
        keeps its thread and nothing else. Any thread may ask.
    """

    def __init__(
        self,
        call: ToolCall,
        tool: Tool | None,
        *,
        limit: float | None,
        approve: Approve | None,
        redact: Callable[[str], str],
        tell: Callable[[], None],
    ) -> None:
        self.call = call
        self._tool = tool
        self._limit = limit
        self._approve = approve
        self._redact = redact
        self._tell = tell
        # Guards _ended, _wanted and _began. Held for looking and changing only.
        self._lock = threading.Lock()
        self._ended: ToolCall | None = None
        self._wanted = True
        self._began: float | None = None  # when the function did

    # -- from outside ---

    def start(self) -> None:
        """Start the thread; where none can be had, the call has failed."""
        if self._tool is None:
            self._fail(f"there is no tool named {self.call.name!r}")
            return
        name = f"meshapi-rt-tool-{next(_numbers)}"
        try:
            threading.Thread(target=self._work, args=(self._tool,), name=name, daemon=True).start()
        except RuntimeError as exc:
            self._fail(f"the tool could not be started: {exc}")

    @property
    def ended(self) -> ToolCall | None:
        """The call with its output; ``None`` while it is under way. Looks at the clock first."""
        if self.left() == 0:
            self._fail(f"the tool did not end within {self._limit:g} s")
        with self._lock:
            return self._ended

    def left(self) -> float:
        """Return the seconds until the time limit; infinite where no clock runs."""
        with self._lock:
            if self._limit is None or self._began is None or self._ended is not None or not self._wanted:
                return math.inf
            return max(0.0, self._began + self._limit - time.monotonic())

    def abandon(self) -> None:
        """Wait for it no longer; a call that waits for its approval will not run."""
        with self._lock:
            self._wanted = False

    # -- on its thread ---

    def _work(self, tool: Tool) -> None:
        try:
            values = tool.convert(self.call.arguments)
        except BadArguments as exc:
            self._fail(f"the arguments do not fit: {self._redact(str(exc))}")
            return
        except BaseException as exc:  # noqa: BLE001 - classes of the user may run while arguments are converted
            self._fail(f"the arguments do not fit: {self._told(exc)}", exc)
            return
        self.call = attrs.evolve(self.call, values=values)
        refusal = self._refusal()
        if refusal is not None:
            self._fail(refusal)
        elif self._begin():
            self._run(tool)

    def _refusal(self) -> str | None:
        """Ask whether the call may run; return why not."""
        if self._approve is None:
            return None
        try:
            verdict = self._approve(self.call)
        except BaseException as exc:  # noqa: BLE001 - the user's code, on a thread of ours
            log.warning("the approval of the tool %s failed:\n%s", self.call.name, self._traceback(exc))
            return "the call could not be approved"
        if isinstance(verdict, str):
            return f"the call was refused: {verdict}" if verdict else "the call was refused"
        return None if verdict else "the call was refused"

    def _begin(self) -> bool:
        """Start the clock, unless nobody waits any more."""
        with self._lock:
            if self._wanted:
                self._began = time.monotonic()
        if self._began is None:
            log.info(
                "the call %s of the tool %s is not wanted any more: it does not run", self.call.call_id, self.call.name
            )
            return False
        self._tell()
        return True

    def _run(self, tool: Tool) -> None:
        try:
            result = tool.function(**(self.call.values or {}))
        except BaseException as exc:  # noqa: BLE001 - the user's code, on a thread of ours: SystemExit ends no program here
            self._fail(self._told(exc), exc)
            return
        if inspect.iscoroutine(result):
            result.close()
        try:
            output = output_of(result)
        except ValueError as exc:
            self._fail(f"the result cannot be told as JSON: {self._redact(str(exc))}")
        else:
            self._settle(output, None)

    # -- the end, on whatever thread ---

    def _fail(self, why: str, exc: BaseException | None = None) -> None:
        if self._settle(error_output(why), why):
            more = f"\n{self._traceback(exc)}" if exc is not None else ""
            log.warning("the call %s of the tool %s: %s%s", self.call.call_id, self.call.name, why, more)

    def _settle(self, output: str, error: str | None) -> bool:
        """Take the first end; tell whether this was it."""
        with self._lock:
            duration = 0.0 if self._began is None else time.monotonic() - self._began
            first = self._wanted and self._ended is None
            if first:
                self._ended = attrs.evolve(self.call, output=output, error=error, duration=duration)
        if first:
            self._tell()
        else:
            log.warning(
                "the call %s of the tool %s ended after %.1f s, when nobody waited for it any more: %s is dropped",
                self.call.call_id,
                self.call.name,
                duration,
                "its result" if error is None else "its failure",
            )
        return first

    def _told(self, exc: BaseException) -> str:
        """Say what was raised, in a line without the traceback."""
        try:
            text = str(exc)
        except Exception:  # noqa: BLE001 - the user's own class
            text = ""
        return self._redact(f"{type(exc).__name__}: {text}" if text else type(exc).__name__)

    def _traceback(self, exc: BaseException) -> str:
        return self._redact("".join(traceback.format_exception(exc))).rstrip()
