"""Which call a message of the server answers. Pure bookkeeping: no thread, no I/O; see ``claims`` for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from .ledger import TAG, Ledger, Sent
from .message import RealtimeMessage
from .retired import current_name

__all__ = ["ITSELF", "Owner", "Routed", "Routing"]

# Seconds for which what a call leaves behind is known for its own: late deltas, transcripts, rate limits.
_AFTERWARDS = 30.0
_NO_ITEMS: frozenset[str] = frozenset()  # one for all: each takes 216 bytes
_MOST_LEFT = 4096  # ids of such things


class Owner(Protocol):
    """Who waits for answers."""

    @property
    def whole(self) -> bool:
        """Whether its items and responses are its own, with all that is told of them; else only the answers are."""

    @property
    def closed(self) -> bool:
        """Whether it has stopped waiting."""

    @property
    def thread(self) -> int:
        """The thread that waits."""


class _Itself:
    """The session, which asks some things on its own."""

    whole = False
    closed = False
    thread = 0


ITSELF: Final = _Itself()
Routed = list[tuple[Owner, Sent | None]]


class Routing:
    """Leads messages to the calls that they answer, and knows what was left behind by calls that are over.

    Args:
        knows: Tells whether a response was announced before.

    Attributes:
        ledger: What was sent and not answered yet.
        unwanted: Responses of calls that are over, and which call that was: to be cancelled.
    """

    def __init__(self, knows: Callable[[str], bool]) -> None:
        self._knows = knows
        self.ledger = Ledger()
        self.unwanted: list[tuple[str, Owner]] = []
        self._owners: dict[str, Owner] = {}  # by the ids of responses, items and client events
        self._keys: dict[Owner, list[str]] = {}  # those ids, of calls that wait
        self._left: list[tuple[float, str]] = []  # those of calls that are over, and until when they are known
        self._restored = _NO_ITEMS  # items whose conversation.item.done is still to come
        self._running: dict[str, Owner] = {}  # responses of calls
        self._rates: list[Owner] = []  # whose rate_limits.updated are still to come, if they do
        self._spoken: str | None = None  # the item that voice detection commits next
        self._latest: str | None = None  # the response that binary audio belongs to

    @property
    def idle(self) -> bool:
        """Whether nothing that comes can be anybody's."""
        return not (self._owners or self._restored or len(self.ledger))

    # -- what goes out, and who stops waiting ---

    def expect(self, sent: Sent) -> None:
        """Note an event that goes out now."""
        self.ledger.add(sent)
        sent.heir = sent.owner or self._owners.get(str((sent.metadata or {}).get(TAG)))
        if sent.owner is None or sent.owner is ITSELF:
            return
        if sent.owner.whole:
            self._own(sent.event_id, sent.owner)
        if sent.kind == "conversation.item.create":
            self._own(sent.subject, sent.owner)

    def leave(self, owner: Owner, now: float) -> None:
        """Take note that a call is over."""
        self.ledger.disown(owner, but_responses=owner.whole)
        self.unwanted += [(response_id, known) for response_id, known in self._running.items() if known is owner]
        until = now + _AFTERWARDS
        self._left.extend((until, key) for key in self._keys.pop(owner, ()))
        self.clean(now)

    def clean(self, now: float) -> None:
        """Forget what calls left behind, when its time is over."""
        while self._left and (self._left[0][0] <= now or len(self._left) > _MOST_LEFT):
            _, key = self._left.pop(0)
            self._owners.pop(key, None)
            self.ledger.withdraw(key)

    def has_sent(self, owner: Owner) -> bool:
        """Tell whether a call has sent something on this connection."""
        return owner in self._keys or self.ledger.owes(owner)

    def forget_connection(self, restored: set[str]) -> None:
        """Expect no answers any more but those to items that were restored on the next connection."""
        self.ledger.clear()
        self._owners.clear()
        self._keys.clear()
        self._left.clear()
        self._running.clear()
        self.unwanted.clear()
        self._rates.clear()
        self._spoken = self._latest = None
        self._restored = frozenset(restored)

    # -- what comes in ---

    def route(self, message: RealtimeMessage) -> Routed:
        """Tell whose a message is; nobody's: an empty list."""
        if message.error is not None:
            return self._error(message)
        event = message.outline
        if event is None:
            owner = self._owners.get(self._latest or "") if message.audio is not None else None
            return [] if owner is None else [(owner, None)]
        kind = current_name(message.type or "")
        if kind.startswith("response."):
            return self._response(kind, event)
        finder = _FINDERS.get(kind)
        owner = None if finder is None else finder(self, kind, event)
        return [] if owner is None else [(owner, None)]

    def _error(self, message: RealtimeMessage) -> Routed:
        error = message.error
        assert error is not None
        sent = self.ledger.refused(error)
        if sent is None:
            owner = self._owners.get(error.event_id or "")
            return [] if owner is None else [(owner, None)]
        self._release(sent)
        return [] if sent.owner is None else [(sent.owner, sent)]

    # -- responses ---

    def _response(self, kind: str, event: Mapping[str, Any]) -> Routed:
        told = _mapping(event, "response")
        response_id = _text(told, "id") or _text(event, "response_id")
        if response_id is None:  # the events of MCP calls
            owner = self._owners.get(_text(event, "item_id") or "")
            return [] if owner is None else [(owner, None)]
        owner = self._owners.get(response_id)
        if owner is None and kind in ("response.created", "response.output_item.added", "response.done"):
            owner = self._adopt(kind, response_id, told)
        routed: Routed = [] if owner is None else [(owner, None)]
        if kind == "response.output_item.added" and owner is not None and owner.whole:
            item = _mapping(event, "item")
            self._own(_text(item, "id"), owner)
            self._own(_text(item, "call_id"), owner)
        self._latest = response_id
        if kind == "response.done":
            self._latest = None
            self._running.pop(response_id, None)
            self.ledger.ended(response_id)
            cancel = self.ledger.cancelled(response_id)
            if cancel is not None and cancel.owner is not None and cancel.owner is not owner:
                routed.append((cancel.owner, cancel))
        return routed

    def _adopt(self, kind: str, response_id: str, told: Mapping[str, Any]) -> Owner | None:
        """Find whose a response is that was not known; its ``response.created`` may be missing (protocol.md 4.8)."""
        metadata = _mapping(told, "metadata")
        begins = kind == "response.created"
        sent = None
        if begins or (kind == "response.output_item.added" and not self._knows(response_id)):
            out_of_band = told["conversation_id"] is None if "conversation_id" in told else None
            sent = self.ledger.began(metadata, out_of_band, told=begins)
        owner = self._owners.get(str(metadata.get(TAG)))
        if sent is not None:
            owner = owner or sent.heir
            if metadata or owner is None:  # beyond doubt, or of no interest
                self._release(sent)
                self.ledger.settle(sent)
            else:
                sent.response_id = response_id
        if owner is None:
            if begins:
                self._rates.clear()
            return None
        if owner.whole:  # else its beginning was the answer, and the rest is for the main stream
            self._rates = [*self._rates[-15:], owner]
            self._own(response_id, owner)
            self._running[response_id] = owner
            if owner.closed:
                self.unwanted.append((response_id, owner))
        return owner

    def _release(self, sent: Sent) -> None:
        """Give a response up that was taken for the answer to something, and was somebody else's."""
        if sent.response_id is not None:
            self._owners.pop(sent.response_id, None)
            self._running.pop(sent.response_id, None)

    def _own(self, key: str | None, owner: Owner) -> None:
        if key is None or self._owners.get(key) is owner:
            return
        self._owners[key] = owner
        if not owner.closed:
            self._keys.setdefault(owner, []).append(key)
        elif self._left:
            self._left.append((self._left[-1][0], key))

    # -- everything else ---

    def _in_order(self, answers: str) -> Owner | None:
        sent = self.ledger.answered(answers)
        return None if sent is None else sent.owner

    def _about_item(self, answers: str, item_id: str | None) -> Owner | None:
        sent = self.ledger.answered(answers, item_id) if item_id else None
        return None if sent is None else sent.owner

    def _item(self, kind: str, event: Mapping[str, Any]) -> Owner | None:
        item = _mapping(event, "item")
        item_id = _text(item, "id")
        if item_id is None:
            return None
        if kind.endswith(".done") and item_id in self._restored:
            self._restored -= {item_id}
            return ITSELF
        self.ledger.answered("conversation.item.create", item_id)
        owner = self._owners.get(item_id)
        if owner is None and item.get("type") == "function_call_output":
            owner = self._owners.get(_text(item, "call_id") or "")
        if owner is not None and not owner.whole and kind.endswith(".done"):
            self._owners.pop(item_id, None)
        return owner

    def _transcription(self, _kind: str, event: Mapping[str, Any]) -> Owner | None:
        owner = self._owners.get(_text(event, "item_id") or "")
        return owner if owner is not None and owner.whole else None

    def _committed(self, _kind: str, event: Mapping[str, Any]) -> Owner | None:
        """A client's commit is answered, unless voice detection announced this one (protocol.md 4.2)."""
        spoken, self._spoken = self._spoken, None
        item_id = _text(event, "item_id")
        if item_id is not None and item_id == spoken:
            return None
        return self._in_order("input_audio_buffer.commit")

    def _turn_ended(self, _kind: str, event: Mapping[str, Any]) -> None:
        self._spoken = _text(event, "item_id")

    def _rate_limits(self, _kind: str, _event: Mapping[str, Any]) -> Owner | None:
        """They follow a response, or its beginning (protocol.md 4.13)."""
        return self._rates.pop(0) if self._rates else None


def _mapping(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(source: Mapping[str, Any], key: str) -> str | None:
    value = source.get(key)
    return value if isinstance(value, str) else None


_Finder = Callable[[Routing, str, Mapping[str, Any]], Owner | None]
_SPOKEN = "conversation.item.input_audio_transcription"
_FINDERS: dict[str, _Finder] = {
    "session.updated": lambda self, _kind, _event: self._in_order("session.update"),
    "input_audio_buffer.cleared": lambda self, _kind, _event: self._in_order("input_audio_buffer.clear"),
    "input_audio_buffer.speech_stopped": Routing._turn_ended,
    "input_audio_buffer.timeout_triggered": Routing._turn_ended,
    "input_audio_buffer.committed": Routing._committed,
    "conversation.item.added": Routing._item,
    "conversation.item.done": Routing._item,
    "conversation.item.retrieved": lambda self, _kind, event: self._about_item(
        "conversation.item.retrieve", _text(_mapping(event, "item"), "id")
    ),
    "conversation.item.truncated": lambda self, _kind, event: self._about_item(
        "conversation.item.truncate", _text(event, "item_id")
    ),
    "conversation.item.deleted": lambda self, _kind, event: self._about_item(
        "conversation.item.delete", _text(event, "item_id")
    ),
    **{f"{_SPOKEN}.{last}": Routing._transcription for last in ("delta", "completed", "segment", "failed")},
    "rate_limits.updated": Routing._rate_limits,
}
