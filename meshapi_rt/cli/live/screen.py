"""What a live conversation looks like: a transcript, and below it a line that shows what goes on."""

from __future__ import annotations

import math
import time

import attrs

from ...agent import AgentMetrics, AgentState, TurnTiming, Utterance
from ..terminal import FLOOR_DBFS, Screen, bar, cells, figure, one_line, tail

__all__ = ["LiveScreen", "Now", "summary"]

_REDRAW = 0.04  # seconds between two pictures at least
_REFRESH = 1.0  # seconds between two of the same picture: what others wrote across it goes away
_FALL = 3.0  # dB that the meter falls by from picture to picture: peaks can be seen
_BAR = 10  # columns
_LABEL = 9
_NARROW = 56  # columns that everything and a word beside it need
_SIDES = {"user": "you", "assistant": "agent"}
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_LABELS = {
    AgentState.STOPPED: "stopped",
    AgentState.LISTENING: "listening",
    AgentState.USER_SPEAKING: "you speak",
    AgentState.THINKING: "thinking",
    AgentState.SPEAKING: "speaking",
    AgentState.TOOL_RUNNING: "working",
}


@attrs.frozen(kw_only=True)
class Now:
    """What the line below the transcript tells.

    Attributes:
        state: What the agent does.
        level: Of the microphone in dBFS; ``None`` where there is none.
        muted: Whether the microphone is.
        ready: Nobody is listened to before a key says so.
        line: What is being typed, or ``None``.
        keys: What keys do now, the most important first.
    """

    state: AgentState
    level: float | None
    muted: bool
    ready: bool
    line: str | None
    keys: tuple[str, ...]


class LiveScreen:
    """Shows a conversation.

    Threads:
        One.

    Args:
        screen: Where.
        drawn: Whether there is a line that is drawn again and again; else only whole lines are written.
        transcript: Whether standard output gets the transcript.
    """

    def __init__(self, screen: Screen, *, drawn: bool, transcript: bool) -> None:
        self._screen = screen
        self._drawn = drawn
        self._transcript = transcript
        self._next = 0.0
        self._picture = ""  # what is shown, and since when
        self._drawn_at = 0.0
        self._level = -math.inf
        self._growing: Utterance | None = None

    # -- what stays ---

    def out(self, text: str) -> None:
        """Write to standard output.

        Raises:
            OutputGone: Nobody reads it.
        """
        self.wipe()
        self._screen.out(text)

    def note(self, line: str) -> None:
        """Write a line to standard error."""
        self.wipe()
        self._screen.note(line)

    def said(self, said: Utterance, timing: TurnTiming | None) -> None:
        """Take what somebody says: it grows below the transcript, and joins it when it is final.

        Raises:
            OutputGone: Nobody reads standard output.
        """
        if not said.final:
            self._growing = said
            return
        if self._growing is not None and self._growing.item_id == said.item_id:
            self._growing = None
        told = "" if timing is None else f"first audio after {1000 * timing.latency:.0f} ms"
        beside = self._transcript and self._screen.out_is_terminal
        if self._transcript:
            self.out(self._line(said, told if beside else ""))
        if told and not beside:
            self.note(told)

    def _line(self, said: Utterance, told: str) -> str:
        bold, dim, plain = (_BOLD, _DIM, _PLAIN) if self._screen.styled else ("", "", "")
        text = one_line(said.text)
        marks = f"[{_cut(said)}]" if said.interrupted else ""
        told = f"({told})" if told else ""
        after = " ".join(part for part in (marks, told) if part)
        spoken = f"{bold}{_SIDES[said.role]}:{plain}" + (f" {text}" if text else "")
        return spoken + (f" {dim}{after}{plain}" if after else "") + "\n"

    # -- what moves ---

    def draw(self, now: Now) -> None:
        """Draw the line below the transcript, if it is time to."""
        at = time.monotonic()
        if not self._drawn or at < self._next:
            return
        self._next = at + _REDRAW
        if now.level is not None:
            self._level = max(now.level, self._level - _FALL, FLOOR_DBFS)
        picture = self.picture(now, self._screen.columns - 1)
        if picture != self._picture or at - self._drawn_at >= _REFRESH:
            self._screen.status(picture)
            self._picture, self._drawn_at = picture, at

    def redraw(self) -> None:
        """Draw at the next occasion: something has changed that the user waits for."""
        self._next = 0.0

    def picture(self, now: Now, columns: int) -> str:
        """Return that line."""
        label = "ready" if now.ready and now.state is AgentState.LISTENING else _LABELS[now.state]
        parts = [f"{label:<{_LABEL}}"]
        narrow = columns < _NARROW
        if now.level is not None and not (narrow and now.line is not None):
            heard = "    muted" if now.muted else figure(self._level)
            parts.append(heard if narrow else f"{bar(self._level, _BAR)} {heard}")
        before = "  ".join(parts) + "  "
        return before + self._beside(now, columns - cells(before))

    def _beside(self, now: Now, columns: int) -> str:
        if now.line is not None:
            return "> " + tail(now.line + "_", columns - 2)
        growing = self._growing
        if growing is not None and growing.text and now.state is not AgentState.USER_SPEAKING:
            side = _SIDES[growing.role] + ": "
            return side + tail(one_line(growing.text), columns - len(side))
        keys = list(now.keys)
        while keys and len("  ".join(keys)) > columns:
            keys.pop()
        return "  ".join(keys)

    def wipe(self) -> None:
        """Take the line away, until it is drawn again."""
        self._screen.wipe_status()
        self._picture = ""


def _cut(said: Utterance) -> str:
    if not said.text:
        return "interrupted at its first word" if said.estimate else "interrupted before it was heard"
    return "interrupted about here" if said.estimate else "interrupted"


def summary(metrics: AgentMetrics, more: dict[str, int]) -> str:
    """Say how a conversation went: the answers that were heard, and what else happened; nothing if there was nothing.

    Args:
        metrics: Of the agent.
        more: Further counters by what they count, in the plural.
    """
    answers = len(metrics.turns)
    told = []
    if answers:
        p50, p95 = 1000 * (metrics.p50 or 0), 1000 * (metrics.p95 or 0)
        told = [f"{answers} answer{'s' * (answers > 1)}, first audio after {p50:.0f} ms (p50) and {p95:.0f} ms (p95)"]
    counters = {
        "interruptions": metrics.interruptions,
        "answers truncated": metrics.truncated,
        "answers deleted": metrics.deleted,
        "bytes of late audio dropped": metrics.late,
        "harmless refusals": metrics.harmless,
        "blocks of echo silenced": metrics.gated,
        "reconnects": metrics.reconnects,
    }
    told += [f"{name}: {count}" for name, count in (counters | more).items() if count]
    return "; ".join(told)
