"""What a server has seen, for any thread to look at and to wait for."""

from __future__ import annotations

import threading

from .record import Record

__all__ = ["Sightings"]


class Sightings:
    """Counts of sessions, and records of frames.

    Threads:
        :meth:`count` and :meth:`keep` are called on the server's thread, everything else on any.
    """

    def __init__(self) -> None:
        # Guards all below. Held for a moment only.
        self._changed = threading.Condition()
        self._open = 0
        self._total = 0
        self._total_before = 0  # the total of earlier runs
        self._records: list[Record] = []

    def begin(self) -> None:
        """Take note that the server is started, perhaps again."""
        with self._changed:
            self._total_before = self._total

    def count(self, open_now: int, opened: int) -> None:
        """Take note of sessions: how many are open, and how many were opened in this run."""
        with self._changed:
            self._open = open_now
            self._total = self._total_before + opened
            self._changed.notify_all()

    def keep(self, record: Record) -> None:
        """Remember a frame."""
        with self._changed:
            self._records.append(record)

    @property
    def total(self) -> int:
        """Sessions opened so far."""
        with self._changed:
            return self._total

    @property
    def records(self) -> list[Record]:
        """Every frame so far, in order."""
        with self._changed:
            return list(self._records)

    def wait_idle(self, timeout: float | None) -> bool:
        """Wait until no session is open; false where *timeout* seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, timeout)
