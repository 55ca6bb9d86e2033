"""What this side has sent and the server has not answered yet, and which answer belongs to what (protocol.md 4.16).

Pure bookkeeping: no thread, no I/O. Success is never told by ``event_id``, so answers are matched by their order, by
the ids of items, and responses by the metadata that they echo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .errors import RealtimeError, remedy

__all__ = ["ANSWERED", "TAG", "Ledger", "Sent", "tagged"]

ANSWERED = frozenset(
    {
        "session.update",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "conversation.item.create",
        "conversation.item.retrieve",
        "conversation.item.truncate",
        "conversation.item.delete",
        "response.create",
        "response.cancel",
    }
)
"""The client events that have an answer of their own (protocol.md 2.1)."""

TAG = "meshapi_rt"  # the key in a response's metadata; its value is the event id of the response.create

_MOST_METADATA = 16  # pairs (protocol.md 1.5, T)
_LONGEST = 64  # events of nobody that a server may leave unanswered

# How the codes of refusals begin, and what they refuse (protocol.md 1.9, O).
_CODES = {
    "item_delete": "conversation.item.delete",
    "item_truncate": "conversation.item.truncate",
    "item_retrieve": "conversation.item.retrieve",
    "input_audio_buffer_commit": "input_audio_buffer.commit",
    "response_cancel": "response.cancel",
    "conversation_already_has": "response.create",
    "cannot_update_voice": "session.update",
}
# The field that a refusal names, up to its first dot, and what has such a field.
_PARAMS = {
    "session": "session.update",
    "response": "response.create",
    "item": "conversation.item.create",
    "previous_item_id": "conversation.item.create",
    "audio": "input_audio_buffer.append",
}


@attrs.define(eq=False)
class Sent:
    """One event that went out and whose answer is due.

    Attributes:
        event_id: Its id.
        kind: Its type.
        owner: Who waits for the answer; ``None`` where nobody does.
        subject: The id of the item or of the response that it is about, if it names one.
        metadata: Of a ``response.create``.
        out_of_band: Whether the response is to stay out of the conversation.
        response_id: The response that was taken for the answer, where it echoes nothing that would prove it.
        heir: Who gets the response, where somebody else asks for it: the call that a tool is run for.
    """

    event_id: str
    kind: str
    owner: Any = None
    subject: str | None = None
    metadata: Mapping[str, Any] | None = None
    out_of_band: bool = False
    response_id: str | None = None
    heir: Any = None

    @classmethod
    def of(cls, event: Mapping[str, Any], owner: object = None) -> Sent:
        """Take note of a client event, which has an ``event_id``."""
        item, response = event.get("item"), event.get("response")
        subject = item.get("id") if isinstance(item, Mapping) else event.get("item_id") or event.get("response_id")
        wanted: Mapping[str, Any] = response if isinstance(response, Mapping) else {}
        return cls(
            event["event_id"],
            event["type"],
            owner,
            subject if isinstance(subject, str) else None,
            wanted.get("metadata"),
            wanted.get("conversation") == "none",
        )


class Ledger:
    """The unanswered events, in the order in which they went out."""

    def __init__(self) -> None:
        self._sent: list[Sent] = []
        self._echoing = False  # this server was seen to echo metadata

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, sent: Sent) -> None:
        """Note that an event goes out now. Of those that nobody waits for, the oldest is given up for a new one."""
        self._sent.append(sent)
        if len(self._sent) > _LONGEST:
            idle = next((one for one in self._sent if one.owner is None), None)
            if idle is not None:
                self._sent.remove(idle)

    def holds(self, event_id: str) -> bool:
        """Tell whether an event is still unanswered."""
        return any(one.event_id == event_id for one in self._sent)

    def withdraw(self, event_id: str) -> None:
        """Forget an event: it did not go out after all, or nobody cares any more."""
        self._sent = [one for one in self._sent if one.event_id != event_id]

    def owes(self, owner: object) -> bool:
        """Tell whether an answer to *owner* is due."""
        return any(one.owner is owner for one in self._sent)

    def disown(self, owner: object, *, but_responses: bool) -> None:
        """Let nobody wait any more for what *owner* sent.

        Args:
            owner: Who stops waiting.
            but_responses: Whether what asks for a response, or cancels one, stays its own.
        """
        for one in self._sent:
            if one.owner is owner and not (but_responses and one.kind.startswith("response.")):
                one.owner = None

    def clear(self) -> None:
        """Forget everything: the connection is gone."""
        self._sent.clear()

    # -- answers ---

    def answered(self, kind: str, subject: str | None = None) -> Sent | None:
        """Take out the oldest event of a type, where *subject* is given one about it; ``None`` if there is none."""
        for one in self._sent:
            if one.kind == kind and (subject is None or one.subject == subject):
                return self._settle(one)
        return None

    def cancelled(self, response_id: str) -> Sent | None:
        """Take out the oldest ``response.cancel`` that meant a response, which has ended now."""
        for one in self._sent:
            if one.kind == "response.cancel" and one.subject in (None, response_id):
                return self._settle(one)
        return None

    def began(self, metadata: Mapping[str, Any] | None, out_of_band: bool | None, *, told: bool) -> Sent | None:
        """Find the ``response.create`` that a new response answers; it stays until it is settled or ended.

        Args:
            metadata: What the response echoes; without any, the oldest unanswered one is meant.
            out_of_band: Whether the response is outside of the conversation; ``None`` where that is not told.
            told: Whether metadata would have been told at all.
        """
        for one in self._sent:
            if one.kind != "response.create" or out_of_band not in (None, one.out_of_band):
                continue
            if metadata and one.metadata and _echoes(metadata, one.metadata):
                self._echoing = True
                return one
            if not metadata and one.response_id is None and not (told and self._echoing and one.metadata):
                return one
        return None

    def ended(self, response_id: str) -> None:
        """Take out what a response was taken for the answer to: no refusal came until its end."""
        for one in self._sent:
            if one.response_id == response_id:
                self._settle(one)
                return

    def settle(self, sent: Sent) -> None:
        """Take out an event that has been answered."""
        if sent in self._sent:
            self._settle(sent)

    def refused(self, error: RealtimeError) -> Sent | None:
        """Take out the event that an error refuses: the one it names, else the oldest one that it fits."""
        for one in self._sent:
            if one.event_id == error.event_id if error.event_id is not None else _fits(error, one.kind):
                return self._settle(one)
        return None

    def _settle(self, sent: Sent) -> Sent:
        """Take out an event, and those before it that nobody waits for.

        Events are handled in order (protocol.md 1.6, D, O): theirs have been answered without our noticing. Of
        responses that is less sure, for they take time to begin.
        """
        at = self._sent.index(sent)
        kept = [one for one in self._sent[:at] if one.owner is not None or one.kind == "response.create"]
        self._sent[: at + 1] = kept
        return sent


def tagged(response: dict[str, Any], event_id: str) -> dict[str, Any]:
    """Let a response tell by its metadata which ``response.create`` it answers, if there is room for that."""
    metadata = dict(response.get("metadata") or {})
    if len(metadata) < _MOST_METADATA:
        response["metadata"] = {**metadata, TAG: event_id}
    return response


def _echoes(metadata: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    return metadata[TAG] == sent.get(TAG) if TAG in metadata else metadata == sent


def _fits(error: RealtimeError, kind: str) -> bool:
    """Tell whether an error that names no event may refuse one of this type (protocol.md 1.9, O)."""
    if remedy(error.code) or error.type not in (None, "invalid_request_error"):
        return False  # of the gateway, or about no request
    meant = next((refused for code, refused in _CODES.items() if (error.code or "").startswith(code)), None)
    if meant is None and error.param:
        meant = _PARAMS.get(error.param.partition(".")[0].partition("[")[0], "another")
    return meant in (None, kind)
