"""Who has the floor: whether the conversation is free for a response that nobody spoke for. Pure."""

from __future__ import annotations

import math
import time

__all__ = ["Floor"]

# How long a sign of life holds the floor at most, in seconds: an end of it may never be told (protocol.md 4.8). Asking
# too early is harmless beside a running response, which refuses it; beside a user who speaks it would interrupt.
_REPLY = 10.0
_SPEECH = 60.0
_SETTLE = 0.5  # after a turn of the user, for voice detection to answer it; and after a refusal


class Floor:
    """Notes responses and speech in the conversation."""

    def __init__(self) -> None:
        self._replies: dict[str, float] = {}  # by response id, until when each holds the floor
        self._speaking = False
        self._spoken_until = -math.inf
        self._refused_until = -math.inf

    def begun(self, response_id: str) -> None:
        """Note a response that began."""
        self._replies[response_id] = time.monotonic() + _REPLY
        if not self._speaking:
            self._spoken_until = -math.inf  # this is the answer

    def done(self, response_id: str) -> None:
        """Note one that is over."""
        self._replies.pop(response_id, None)
        self._refused_until = -math.inf

    def refused(self) -> None:
        """Note that the server says there is a response: one that is known, or one that was not told yet."""
        now = time.monotonic()
        self._replies = dict.fromkeys(self._replies, now + _REPLY)
        self._refused_until = now + _SETTLE

    def speech(self, kind: str) -> None:
        """Note an event of the input buffer."""
        now = time.monotonic()
        if kind.endswith("speech_started"):
            self._speaking, self._spoken_until = True, now + _SPEECH
        elif self._speaking:
            self._speaking, self._spoken_until = False, now + (_SETTLE if kind.endswith("committed") else 0)

    def free_in(self, now: float) -> float:
        """Return the seconds until it is free at the latest, 0 for now."""
        return max(0.0, max([self._spoken_until, self._refused_until, *self._replies.values()]) - now)
