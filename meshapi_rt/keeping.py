"""The audio of both sides, kept by item for whoever asks for it, within a bound."""

from __future__ import annotations

import base64
import os
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from .order import remember
from .retired import current_name

__all__ = ["AudioKeeper"]

_BYTES_PER_MS = 48  # of audio/pcm (protocol.md 5)


class AudioKeeper:
    """Cuts what was appended to the input buffer into turns, by the server's own clock; collects what is answered.

    Time stamps of the server count appended audio and do not restart (protocol.md 5), so the keeper counts along.
    With manual turns a commit takes everything since the last one.

    Threads:
        Any thread appends; the reader tells it the server's events.

    Args:
        limit: Bytes of both sides that are kept; the items whose audio began first go first, each as a whole.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Guards everything here. Held for bookkeeping only.
        self._lock = threading.Lock()
        self._pieces: deque[bytes] = deque()  # appended and not yet part of a turn
        self._begin = 0  # the byte on the input clock where they begin
        self._end = 0
        self._spans: dict[str, tuple[int, int | None]] = {}  # of turns that voice detection announced
        self._kept: dict[str, list[bytes]] = {}  # by item, the one that began first in front
        self._held = 0
        self._dropped: dict[str, None] = {}  # items that had to go: what comes of them now has no beginning

    def appended(self, audio: bytes | memoryview | Mapping[str, Any]) -> None:
        """Take in audio that goes to the server: PCM16 at 24 kHz, raw or as an append event."""
        pcm = _decoded(audio.get("audio")) if isinstance(audio, Mapping) else bytes(audio)
        with self._lock:
            self._pieces.append(pcm)
            self._end += len(pcm)
            while not self._spans and self._end - self._begin - len(self._pieces[0]) > self._limit:
                self._begin += len(self._pieces.popleft())

    def created(self, event: dict[str, Any]) -> None:
        """Take in the audio of a ``conversation.item.create``, which gets an id if it has none."""
        item = event.get("item")
        content = item.get("content") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or not isinstance(content, list):
            return
        audio = [_decoded(part.get("audio")) for part in content if isinstance(part, Mapping) and part.get("audio")]
        if audio:
            event["item"] = {"id": f"item_{os.urandom(8).hex()}", **item}
            with self._lock:
                self._keep(str(event["item"]["id"]), b"".join(audio))

    def spoken(self, item_id: str, audio: bytes) -> None:
        """Take in a piece of the assistant's audio, in whatever format it came."""
        with self._lock:
            if item_id not in self._dropped:
                self._kept.setdefault(item_id, []).append(audio)
                self._hold(len(audio))

    def observe(self, event: Mapping[str, Any]) -> None:
        """Take in an event of the server."""
        kind, item_id = current_name(str(event.get("type"))), event.get("item_id")
        with self._lock:
            if kind == "input_audio_buffer.cleared":
                self._spans.clear()  # of speech that will not be committed any more
                self._forget(self._end)
            elif not isinstance(item_id, str):
                return
            elif kind == "input_audio_buffer.speech_started":
                self._spans[item_id] = (_at(event, "audio_start_ms", self._begin), None)
            elif kind == "input_audio_buffer.speech_stopped" and item_id in self._spans:
                self._spans[item_id] = (self._spans[item_id][0], _at(event, "audio_end_ms", self._end))
            elif kind == "input_audio_buffer.committed":
                self._commit(item_id)
            elif kind == "conversation.item.deleted":
                self._drop(item_id)

    def forget_connection(self) -> None:
        """Begin a new input clock: what was in the server's buffer is gone."""
        with self._lock:
            self._pieces.clear()
            self._spans.clear()
            self._begin = self._end = 0

    def orphan(self) -> None:
        """Go on in a forked child, where the thread that held the lock may not exist."""
        self._lock = threading.Lock()

    def audio_of(self, item_id: str) -> bytes | None:
        """Return the audio of an item, if it is kept."""
        with self._lock:
            pieces = tuple(self._kept.get(item_id, ()))
        return b"".join(pieces) or None

    def length_of(self, item_id: str) -> int | None:
        """Return how many bytes of audio an item has, if it is kept."""
        with self._lock:
            return sum(map(len, self._kept.get(item_id, ()))) or None

    def _commit(self, item_id: str) -> None:
        begin, end = self._spans.pop(item_id, (self._begin, None))
        whole = b"".join(self._pieces)
        stop = self._end if end is None else min(end, self._end)
        turn = whole[max(0, begin - self._begin) : stop - self._begin]
        self._forget(stop)
        self._keep(item_id, turn)

    def _keep(self, item_id: str, turn: bytes) -> None:
        self._drop(item_id)
        self._kept[item_id] = [turn]
        self._hold(len(turn))

    def _hold(self, more: int) -> None:
        self._held += more
        while self._held > self._limit:
            oldest = next(iter(self._kept))
            self._drop(oldest)
            remember(self._dropped, oldest)

    def _drop(self, item_id: str) -> None:
        self._held -= sum(map(len, self._kept.pop(item_id, ())))

    def _forget(self, until: int) -> None:
        """Drop what lies before a byte of the input clock."""
        until = max(until, self._begin)
        rest = b"".join(self._pieces)[until - self._begin :]
        self._pieces = deque([rest] if rest else [])
        self._begin = until


def _decoded(audio: object) -> bytes:
    try:
        return base64.b64decode(audio, validate=True) if isinstance(audio, str) else b""
    except ValueError:
        return b""


def _at(event: Mapping[str, Any], key: str, otherwise: int) -> int:
    value = event.get(key)
    return value * _BYTES_PER_MS if isinstance(value, int) else otherwise
