"""One session: every client event, and what it does (protocol.md, sections 1.6, 2.1 and 4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .conversation import Conversation
from .failures import Refusal, error_event
from .host import Host
from .ids import new_id
from .items import Item, decode_base64
from .listening import Listening
from .rules import one_of, text
from .schema import CLIENT_EVENTS
from .settings import SessionSettings
from .speaking import Speaking

__all__ = ["Session", "parse"]

# 15 MiB of audio per append (protocol.md 1.5, the unit is open): as bytes after decoding, the larger reading.
_LONGEST_APPEND = 15 * 1024 * 1024
_LONGEST_EVENT_ID = 512


def parse(frame: str) -> dict[str, Any]:
    """Read one text frame.

    Raises:
        Refusal: It is no JSON object. The codes are this server's own (protocol.md 7.11).
    """
    try:
        event = json.loads(frame, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise Refusal("invalid_json", f"The frame is not valid JSON: {type(exc).__name__}.") from None
    if not isinstance(event, dict):
        raise Refusal("invalid_json", "The frame is JSON, but not an object.")
    return event


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Session:
    """Handles client events in order, on the loop's thread; knows no socket.

    Attributes:
        settings: The effective configuration.
        conversation: The default conversation.
        speaking: Its responses.
        listening: Its input audio.
    """

    def __init__(self, host: Host, settings: SessionSettings) -> None:
        self.settings = settings
        self.conversation = Conversation()
        self._host = host
        self.speaking = Speaking(host, settings, self.conversation, new_id("conv"), self._response_done)
        self.listening = Listening(host, settings, self.conversation, self.speaking)
        self._handlers: Mapping[str, Callable[[dict[str, Any]], None]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": lambda _: self.listening.commit(),
            "input_audio_buffer.clear": lambda _: self.listening.clear(),
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.truncate": self._truncate_item,
            "conversation.item.delete": self._delete_item,
            "response.create": self._create_response,
            "response.cancel": lambda event: self.speaking.cancel(event.get("response_id")),
        }

    def open(self) -> None:
        """Send the first event."""
        self._host.send({"type": "session.created", "session": self.settings.wire()})

    def receive(self, frame: str) -> None:
        """Handle a text frame. Whatever it holds, the session goes on."""
        event_id = None
        try:
            event = parse(frame)
            event_id = _event_id(event)
            self._handle(event)
        except Refusal as refusal:
            self._host.send(error_event(refusal, event_id))

    def receive_audio(self, data: bytes) -> None:
        """Handle a binary frame as audio in the input format."""
        try:
            self._append_bytes(data)
        except Refusal as refusal:
            self._host.send(error_event(refusal, None))

    def close(self) -> None:
        """Let go of everything that waits or runs; nothing more is sent."""
        self.speaking.abandon()
        self.listening.close()

    def _handle(self, event: dict[str, Any]) -> None:
        if "type" not in event:
            raise Refusal.missing("type")
        one_of(*CLIENT_EVENTS)(event["type"], "type")
        if "event_id" in event:
            text(_LONGEST_EVENT_ID)(event["event_id"], "event_id")
        CLIENT_EVENTS[event["type"]](event, "")
        self._handlers[event["type"]](event)

    def _response_done(self, audio_ms: float) -> None:
        self.listening.response_done(audio_ms)

    # -- client events -----------------------------------------------------------------------------------

    def _update(self, event: dict[str, Any]) -> None:
        self.settings.update(event["session"], speaking=self.speaking.busy)
        self.listening.reconfigure()
        self._host.send({"type": "session.updated", "session": self.settings.wire()})

    def _append(self, event: dict[str, Any]) -> None:
        self._append_bytes(decode_base64(event["audio"], "audio"))

    def _append_bytes(self, data: bytes) -> None:
        if len(data) > _LONGEST_APPEND:
            raise Refusal.invalid("audio", f"at most 15 MiB go into one event, got {len(data)} bytes")
        self.listening.append(data)

    def _create_item(self, event: dict[str, Any]) -> None:
        item = Item.from_client(event["item"], "item", self.settings.input_format)
        self.conversation.insert(item, event.get("previous_item_id"))
        before = self.conversation.predecessor(item.id)
        for event_type in ("conversation.item.added", "conversation.item.done"):
            self._host.send({"type": event_type, "previous_item_id": before, "item": item.wire()})

    def _retrieve_item(self, event: dict[str, Any]) -> None:
        item = self.conversation.retrieve(event["item_id"])
        self._host.send({"type": "conversation.item.retrieved", "item": item.wire(with_audio=True)})

    def _truncate_item(self, event: dict[str, Any]) -> None:
        place = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self.conversation.truncate(**place)
        self._host.send({"type": "conversation.item.truncated", **place})

    def _delete_item(self, event: dict[str, Any]) -> None:
        self.conversation.delete(event["item_id"])
        self._host.send({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    def _create_response(self, event: dict[str, Any]) -> None:
        if self.settings.type == "transcription":
            raise Refusal.invalid("type", "a transcription session makes no responses")
        self.speaking.create(event.get("response") or {})


def _event_id(event: Mapping[str, Any]) -> str | None:
    event_id = event.get("event_id")
    return event_id if isinstance(event_id, str) and len(event_id) <= _LONGEST_EVENT_ID else None
