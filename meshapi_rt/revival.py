"""A new connection for a session that lost its own: tries with pauses, then configuration and conversation again."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from .decoding import Wire
from .errors import (
    Cancelled,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    MeshAPIError,
    SessionClosed,
    TimedOut,
    remedy,
)
from .message import RealtimeMessage, encode_event
from .opening import first_messages
from .policy import ReconnectPolicy
from .pump import outcome
from .replay import Replay
from .retired import current_name
from .transport import CutOff, Ended, NotSent
from .waiting import Wait

if TYPE_CHECKING:
    from .event_types import ReconnectedEvent

__all__ = ["Revived", "reconnected_message", "revive"]

log = logging.getLogger("meshapi_rt")


@attrs.frozen(eq=False, repr=False)
class Revived:
    """A connection on which the conversation goes on.

    Attributes:
        connection: The new one.
        hello: Its ``session.created``.
        settings: Its last ``session.updated``; ``None`` where the configuration was refused.
        messages: What came beside the answers to the restoring.
        restored: The ids of the items that the server has.
        unfinished: Those of them whose ``conversation.item.done`` is still to come.
        lost: A clause for each thing that it has not.
        attempts: How many tries it took.
    """

    connection: Wire
    hello: RealtimeMessage
    settings: RealtimeMessage | None
    messages: list[RealtimeMessage]
    restored: list[str]
    unfinished: set[str]
    lost: list[str]
    attempts: int


def revive(
    *,
    reopen: Callable[[Wait], Wire],
    policy: ReconnectPolicy,
    replay: Replay,
    next_id: Callable[[], str],
    redact: Callable[[str], str],
    closing: threading.Event,
) -> Revived:
    """Connect and restore; on failure pause and try again, as *policy* says.

    Args:
        reopen: Opens a WebSocket under the wait it is given.
        policy: How often, and how long.
        replay: What to tell the new session.
        next_id: Makes client event ids.
        redact: Takes secrets out of what the server says.
        closing: Ends it at once when it is set.

    Raises:
        ConnectError: Every try failed; this is why the last one did.
        Cancelled: *closing* was set.
    """
    failure: MeshAPIError | None = None
    for attempt in range(1, policy.attempts + 1):
        if closing.wait(policy.pause_before(attempt, failure)):
            raise Cancelled("the session was closed while it was connecting again")
        try:
            connection, first, restorer = _attempt(
                reopen, policy, replay, next_id=next_id, redact=redact, closing=closing
            )
        except (ConnectError, ConnectionLost, SessionClosed, TimedOut) as exc:
            failure = exc
            log.info("connecting again, try %d of %d failed: %s", attempt, policy.attempts, exc)
            if policy.gives_up_on(exc):
                break
        else:
            return Revived(
                connection,
                first,
                restorer.settings,
                restorer.beside,
                restorer.restored,
                restorer.unfinished,
                [*replay.lost, *restorer.refused],
                attempt,
            )
    raise failure or ConnectError("the reconnect policy allows no tries")


def _attempt(
    reopen: Callable[[Wait], Wire],
    policy: ReconnectPolicy,
    replay: Replay,
    *,
    next_id: Callable[[], str],
    redact: Callable[[str], str],
    closing: threading.Event,
) -> tuple[Wire, RealtimeMessage, _Restorer]:
    wait = Wait(policy.timeout, closing)
    connection = reopen(wait)
    try:
        first, *more = first_messages(connection, wait, redact)
        restorer = _Restorer(connection, wait, redact)
        restorer.take(more)
        restorer.restore(replay, next_id)
    except BaseException:
        connection.abort("the session could not be restored on it")
        connection.finish()
        raise
    return connection, first, restorer


class _Restorer:
    """Sends the restoring and takes the answers to it out of what comes. On the reader thread."""

    def __init__(self, connection: Wire, wait: Wait, redact: Callable[[str], str]) -> None:
        self._connection = connection
        self._wait = wait
        self._redact = redact
        self._pending: dict[str, str] = {}  # by event id: the item's id, "" for the configuration; in their order
        self.settings: RealtimeMessage | None = None
        self.beside: list[RealtimeMessage] = []
        self.restored: list[str] = []
        self.unfinished: set[str] = set()
        self.refused: list[str] = []

    def restore(self, replay: Replay, next_id: Callable[[], str]) -> None:
        """Send everything, and wait for the answer to each part."""
        if replay.update is not None:
            self._send({"type": "session.update", "session": replay.update}, next_id(), "")
        for item in replay.items:  # without previous_item_id each goes to the end
            self._send({"type": "conversation.item.create", "item": item}, next_id(), item["id"])
            self._receive(0)
        while self._pending:
            longest = self._wait.slice()
            if longest == 0:
                raise TimedOut(f"the conversation was not restored within {self._wait.timeout:g} s")
            self._receive(longest)

    def _send(self, event: dict[str, Any], event_id: str, answers_to: str) -> None:
        self._pending[event_id] = answers_to
        try:
            self._connection.send(encode_event({**event, "event_id": event_id}), self._wait)
        except (NotSent, CutOff):
            self._receive(0)  # tells the ending
            raise ConnectionLost("the new connection broke while the conversation was being restored") from None

    def _receive(self, timeout: float) -> None:
        try:
            self.take(self._connection.receive(timeout))
        except Ended as exc:
            raise outcome(exc.ending, None, self._redact) from None

    def take(self, messages: list[RealtimeMessage]) -> None:
        """Take answers out; keep the rest."""
        for message in messages:
            if not self._is_answer(message):
                self.beside.append(message)

    def _is_answer(self, message: RealtimeMessage) -> bool:
        event, kind = message.outline or {}, current_name(message.type or "")
        if message.error is not None:
            return self._is_refusal(message)
        if kind == "session.updated" and self._settle(""):
            self.settings = message
            return True
        if kind in ("conversation.item.added", "conversation.item.done"):
            return self._is_item(event, finished=kind.endswith(".done"))
        return False

    def _is_item(self, event: Mapping[str, Any], *, finished: bool) -> bool:
        item = event.get("item")
        item_id = item.get("id") if isinstance(item, dict) else None
        if isinstance(item_id, str) and self._settle(item_id):
            self.restored.append(item_id)
            self.unfinished.add(item_id)
        known = item_id in self.unfinished
        if finished:
            self.unfinished.discard(str(item_id))
        return known

    def _is_refusal(self, message: RealtimeMessage) -> bool:
        """Match an error to what it refuses; one without an id is about the oldest unanswered event.

        Raises:
            ConnectRefused: It is one of the gateway's own, which carry no id and end the session.
        """
        error = message.error
        assert error is not None
        if error.event_id is None and remedy(error.code):
            raise ConnectRefused(str(error), code=error.code, request_id=error.request_id, error=error)
        event_id = error.event_id or next(iter(self._pending), None)
        if event_id not in self._pending:
            return False
        item_id = self._pending.pop(event_id)
        self.refused.append(f"{item_id or 'the configuration'} was refused: {error.message}")
        return True

    def _settle(self, answers_to: str) -> bool:
        for event_id, waiting in self._pending.items():
            if waiting == answers_to:
                del self._pending[event_id]
                return True
        return False


def reconnected_message(
    revived: Revived, *, reason: str, planned: bool, gap: float, cut: list[str], dropped: int
) -> RealtimeMessage:
    """Return the one message that tells a loop about a reconnect. An event of our own: no server sends it."""
    session = (revived.hello.outline or {}).get("session")
    event: ReconnectedEvent = {
        "type": "meshapi.reconnected",
        "source": "meshapi_rt",
        "reason": reason,
        "planned": planned,
        "seconds": round(gap, 3),
        "attempts": revived.attempts,
        "session_id": session.get("id") if isinstance(session, dict) else None,
        "restored": {"configuration": revived.settings is not None, "items": revived.restored},
        "lost": [*revived.lost, *cut],
        "dropped_sends": dropped,
    }
    return RealtimeMessage(None, json.dumps(event), dict(event), event["type"])
