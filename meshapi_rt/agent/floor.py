"""Who may speak: the one response of the conversation, asked for when that is free, cancelled when not wanted."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ..errors import MeshAPIError, RealtimeError, TimedOut
from ..session import RealtimeSession

__all__ = ["COMMIT_EMPTY", "Floor", "is_harmless"]

log = logging.getLogger("meshapi_rt")

_BUSY = "conversation_already_has_active_response"
_NOT_ACTIVE = "response_cancel_not_active"
COMMIT_EMPTY = "input_audio_buffer_commit_empty"
# protocol.md 1.9: races to be expected. The message tells the truncations apart, whose codes are common ones.
_HARMLESS_CODES = frozenset({_NOT_ACTIVE, COMMIT_EMPTY, "item_truncate_invalid_item_id", "item_delete_invalid_item_id"})
_HARMLESS_WORDS = ("is already shorter than", "Only model output audio messages can be truncated")
_REMEMBERED = 256  # events whose refusal may still come
_SEND_SECONDS = 10.0
_RETRY = 0.2  # seconds until a server is asked again that is busy with a response it did not tell of


def is_harmless(error: RealtimeError) -> bool:
    """Tell whether a refusal is a race to be expected (protocol.md 1.9, end)."""
    return error.code in _HARMLESS_CODES or any(words in error.message for words in _HARMLESS_WORDS)


class Floor:
    """Asks for responses, and follows the one that runs.

    Threads:
        One, the conductor's.

    Attributes:
        active: The response of the conversation that runs, or ``None``.
    """

    def __init__(self, session: RealtimeSession) -> None:
        self._session = session
        self._sent: OrderedDict[str, str] = OrderedDict()  # event ids, and the item that they are about
        self._asked: str | None = None  # the event that asked for a response which has not begun
        self._last_asked: str | None = None  # likewise, whatever has begun since: it may have been another's
        self._wanted = False
        self._cancel_next = False
        self._again_at: float | None = None
        self.active: str | None = None

    @property
    def asked(self) -> bool:
        """Whether a response is wanted, and has not begun."""
        return self._wanted or self._asked is not None

    def send(self, event: Mapping[str, Any], item_id: str = "") -> str | None:
        """Send an event; return its id, or ``None`` where that failed: the end of a session is told elsewhere."""
        try:
            event_id = self._session.send(event, _SEND_SECONDS)
        except TimedOut as exc:
            log.warning("%s was not sent: %s", event["type"], exc)
            return None
        except MeshAPIError:
            return None
        self._sent[event_id] = item_id
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        return event_id

    def is_ours(self, error: RealtimeError) -> bool:
        """Tell whether a refusal is about something that was sent here; some servers do not say (protocol.md 1.9)."""
        return error.event_id is None or error.event_id in self._sent

    def item_of(self, error: RealtimeError) -> str | None:
        """Return the item that a refusal is about, where it is known."""
        return self._sent.get(error.event_id or "") or None

    # -- asking ---

    def ask(self) -> None:
        """Ask for a response as soon as the conversation is free."""
        self._wanted = True
        if self.active is None and self._asked is None:
            self._wanted = False
            self._again_at = None
            self._asked = self._last_asked = self.send({"type": "response.create"})

    def leave(self) -> None:
        """Want no response; cancel the one that runs, or the one that was asked for once it begins."""
        self._wanted, self._again_at = False, None
        if self.active is not None:
            self.send({"type": "response.cancel", "response_id": self.active})
        elif self._asked is not None:
            self._cancel_next = True  # a cancel would find nothing now (protocol.md 4.9)

    def forget_connection(self) -> None:
        """Take note that what ran and what was asked for is gone."""
        self.active = self._asked = self._again_at = None
        self._wanted = self._cancel_next = False

    def tick(self, now: float) -> None:
        """Ask again where that is due."""
        if self._again_at is not None and now >= self._again_at:
            self.ask()

    # -- what the server says ---

    def created(self, response_id: str, *, unwanted: bool) -> bool:
        """Take note of a response that begins; cancel it if nobody wants it, and return whether it goes on."""
        unwanted = unwanted or self._cancel_next
        self._cancel_next = False
        self._asked = None
        self.active = response_id
        if unwanted:
            self.send({"type": "response.cancel", "response_id": response_id})
        return not unwanted

    def done(self, response_id: str | None) -> None:
        """Take note of the end of a response."""
        if response_id == self.active:
            self.active = None
        if self._wanted:
            self.ask()

    def refused(self, error: RealtimeError, now: float) -> bool:
        """Take note of a refusal; return whether it was the one of a response that is asked for again."""
        busy = error.code == _BUSY
        about = self._asked if busy and error.event_id is None else error.event_id
        if about is None or about != self._last_asked:
            return False
        self._asked = self._last_asked = None
        unwanted, self._cancel_next = self._cancel_next, False
        if not busy:
            if self._wanted:
                self.ask()
            return False
        self._wanted = self._wanted or not unwanted
        if self._wanted and self.active is None:
            self._again_at = now + _RETRY
        return True
