"""How long answers take: from the end of the user's speech to the first audio out of the speaker."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from .metrics import TurnTiming
from .mouth import Spoken

__all__ = ["Stopwatch"]

_TURNS = 10_000
_LONGEST_SILENCE = 10.0  # seconds between the end of speech and the report of it; more is a clock gone wrong


class Stopwatch:
    """Measures one answer at a time.

    Threads:
        One, the conductor's; any may look at ``turns``.

    Attributes:
        silence: Seconds that the server waits before it reports the end of speech.
        turns: What was measured.
    """

    def __init__(self) -> None:
        self._since: float | None = None  # when the user ended, until something of the answer is heard
        self.silence = 0.0
        self.turns: deque[TurnTiming] = deque(maxlen=_TURNS)

    def start(self, at: float) -> None:
        """Begin with the end of a turn."""
        self._since = at

    def start_with_speech(self, told_ms: object, heard_at: Callable[[float], float | None]) -> None:
        """Begin when the user fell silent: the server's time stamp includes the silence that it waited for.

        Args:
            told_ms: The server's time stamp, in milliseconds of audio.
            heard_at: Tells when such a moment was.
        """
        self._since = now = time.monotonic()
        if isinstance(told_ms, (int, float)):
            at = heard_at(told_ms - 1000 * self.silence)
            if at is not None and now - _LONGEST_SILENCE < at <= now:
                self._since = at

    def forget(self) -> None:
        """Measure nothing: the answer was cut off, or there will be none."""
        self._since = None

    def stop(self, item: Spoken) -> None:
        """Take note of an item that is heard; the first one of a turn counts."""
        if self._since is None or item.began is None:
            return
        latency, came = item.began - self._since, item.first_came or item.began
        own = max(0.0, item.began - came)
        self._since = None
        self.turns.append(TurnTiming(latency=latency, server=latency - own, own=own, item_id=item.item_id))
