"""What a session says to the server on its own; no consumer sees the answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from .claims import Claims
from .ledger import Sent
from .message import encode_event
from .routing import ITSELF

__all__ = ["Aside"]

log = logging.getLogger("meshapi_rt")

_Post = Callable[[bytes, Callable[[], None]], None]


class Aside:
    """Asks for nothing, so that there is an answer.

    Threads:
        The reader calls it; what it posts goes out on whatever thread can send first.
    """

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._fence: str | None = None  # the last update on a connection that is being left
        self._fence_is_out = False

    def post_update(self, post: _Post, session_type: str, event_id: str) -> None:
        """Send the smallest ``session.update``, whose answer is kept back.

        It keeps an idle session: the gateway counts events, not pings (protocol.md 1.5, G).
        """
        event = {"event_id": event_id, "type": "session.update", "session": {"type": session_type}}
        post(encode_event(event), partial(self._goes_out, Sent.of(event, ITSELF)))
        log.debug("sent a session.update without a change")

    def post_fence(self, post: _Post, session_type: str, event_id: str) -> None:
        """Send another such update, behind which a connection is left.

        Events are answered in order (protocol.md 1.6, D, O), so its answer shows that all before it have been.
        """
        self._fence, self._fence_is_out = event_id, False
        self.post_update(post, session_type, event_id)

    def _goes_out(self, sent: Sent) -> None:
        self._claims.expect(sent)
        self._fence_is_out = self._fence_is_out or sent.event_id == self._fence

    @property
    def fence_answered(self) -> bool:
        """Whether everything sent before the fence has been answered."""
        return self._fence is None or (self._fence_is_out and not self._claims.awaits(self._fence))
