"""What a session says to the server on its own, and its answers, which no consumer sees."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from .errors import RealtimeError
from .message import RealtimeMessage, encode_event
from .retired import current_name

__all__ = ["Aside"]

log = logging.getLogger("meshapi_rt")

# How the codes of errors begin that refuse other events (protocol.md 1.9).
_OTHERS = ("item_", "input_audio_buffer_", "response_", "conversation_")
_Post = Callable[[bytes, Callable[[], None]], None]


class Aside:
    """Keeps apart which answers of the server are the caller's and which are the session's own.

    Threads:
        :meth:`expect` is called in the order of the wire, by whatever thread sends; the rest by the reader alone.
    """

    def __init__(self) -> None:
        # Guards _updates. Held for looking and changing only.
        self._lock = threading.Lock()
        self._updates: list[tuple[str, bool]] = []  # session.updates on their way: event id, whether it is our own
        self._fence: str | None = None  # the last update on a connection that is being left
        self._restored: set[str] = set()  # items whose conversation.item.done is still to come

    def expect(self, event_id: str, ours: bool = False) -> None:
        """Note that a ``session.update`` goes out now."""
        with self._lock:
            self._updates.append((event_id, ours))

    def post_update(self, post: _Post, session_type: str, event_id: str) -> None:
        """Send the smallest ``session.update``, whose answer is kept back.

        It keeps an idle session: the gateway counts events, not pings (protocol.md 1.5, G).
        """
        event = {"event_id": event_id, "type": "session.update", "session": {"type": session_type}}
        post(encode_event(event), partial(self.expect, event_id, True))
        log.debug("sent a session.update without a change")

    def post_fence(self, post: _Post, session_type: str, event_id: str) -> None:
        """Send another such update, behind which a connection is left.

        Events are answered in order (protocol.md 1.6, D, O), so its answer shows that all before it have been.
        """
        self._fence = event_id
        self.post_update(post, session_type, event_id)

    @property
    def fence_answered(self) -> bool:
        """Whether everything sent before the fence has been answered."""
        return self._fence is None

    def forget_connection(self, restored: set[str]) -> None:
        """Expect no answers any more but those to items that were restored on the next connection."""
        with self._lock:
            self._updates.clear()
        self._restored = restored

    @property
    def expects(self) -> bool:
        """Whether answers to what the session sent are still to come."""
        return bool(self._updates or self._restored)

    def sift(self, messages: list[RealtimeMessage]) -> list[RealtimeMessage]:
        """Take note of answers, and return the messages that are not to be kept back."""
        return [message for message in messages if not self._is_ours(message)]

    def _is_ours(self, message: RealtimeMessage) -> bool:
        kind = current_name(message.type or "")
        if kind == "session.updated":
            return self._settle(None)
        if message.error is not None:
            return self._is_about_session(message.error) and self._settle(message.error.event_id)
        return kind == "conversation.item.done" and self._is_restored(message)

    def forget(self, event_id: str) -> None:
        """Note that a ``session.update`` did not go out after all."""
        with self._lock:
            self._updates = [update for update in self._updates if update[0] != event_id]

    @staticmethod
    def _is_about_session(error: RealtimeError) -> bool:
        """Tell whether an error may refuse an update; some come without its event id (protocol.md 1.9)."""
        if error.event_id is not None:
            return True
        return (error.param or "session").startswith("session") and not (error.code or "").startswith(_OTHERS)

    def _settle(self, event_id: str | None) -> bool:
        """Take out the update that was answered, the oldest or the one named; tell whether it was our own."""
        with self._lock:
            for index, (known, ours) in enumerate(self._updates):
                if event_id is None or known == event_id:
                    del self._updates[index]
                    if known == self._fence:
                        self._fence = None
                    return ours
        return False

    def _is_restored(self, message: RealtimeMessage) -> bool:
        item = message.outline.get("item") if message.outline else None
        item_id = item.get("id") if isinstance(item, dict) else None
        if not isinstance(item_id, str) or item_id not in self._restored:
            return False
        self._restored.discard(item_id)
        return True
