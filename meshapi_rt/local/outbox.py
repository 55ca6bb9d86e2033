"""Frames that wait to be sent, counted in bytes: what a slow client costs is bounded here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

__all__ = ["Action", "Outbox"]

Action: TypeAlias = Callable[[], Awaitable[object]]
"""Something that is done between two frames."""


class Outbox:
    """A queue between a session, which never waits, and a socket, which does. Used on the loop's thread."""

    def __init__(self) -> None:
        self._frames: deque[str | bytes | Action] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()
        self._released = False

    def put(self, frame: str | bytes) -> None:
        """Add a frame."""
        self._frames.append(frame)
        self._bytes += len(frame)
        self._filled.set()

    def put_action(self, action: Action) -> None:
        """Add something that is done when its turn comes."""
        self._frames.append(action)
        self._filled.set()

    async def take(self) -> str | bytes | Action:
        """Wait for the next frame."""
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        frame = self._frames.popleft()
        if isinstance(frame, (str, bytes)):
            self._bytes -= len(frame)
            self._taken.set()
        return frame

    @property
    def empty(self) -> bool:
        """Nothing waits."""
        return not self._frames

    async def wait_below(self, limit: int) -> None:
        """Wait until fewer than *limit* bytes are queued, or the outbox is released."""
        while self._bytes >= limit and not self._released:
            self._taken.clear()
            await self._taken.wait()

    def release(self) -> None:
        """Let nobody wait for room any more."""
        self._released = True
        self._taken.set()
