"""The mirror of the server's conversation and configuration, from its events alone. Bookkeeping: no thread, no I/O.

One thread at a time, the one that reads, calls :meth:`History.observe`; it is told nothing by the side that sends.
Others may look at any time: see :mod:`.items`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from .configuration import Configuration, node
from .hearing import Hearing
from .items import BYTES_PER_MS, Item, Part, fill, fill_part, text_of
from .message import RealtimeMessage
from .order import Order
from .retired import with_retired_names
from .usage import Meter, Usage

__all__ = ["History"]

_ITEMS = 10_000  # at a few hundred bytes to a few kilobytes each; a turn and its answer are two


@attrs.define(eq=False)
class _Response:
    """A response that is running."""

    outside: bool  # the conversation
    audio_format: str | None
    items: dict[Item, None] = attrs.field(factory=dict)


class History(Configuration):
    """What the server's events say about its session and its conversation.

    Tolerant of events that are missing, late, repeated or named as in the beta.

    Args:
        limit: How many items are kept; beyond it the ones that came first are dropped, and counted.

    Attributes:
        answering: The id of the response that runs in the conversation, or ``None``.
    """

    def __init__(self, limit: int = _ITEMS) -> None:
        super().__init__()
        self._order = Order(lambda item_id: Item(item_id, audio_format=self.output_format), limit)
        self._known = self._order.known
        self.answering: str | None = None
        self._responses: dict[str, _Response] = {}  # running, the out-of-band ones too
        self._ended: tuple[str, ...] = ()  # the last ones that were
        # The part that the last audio was of, and where that is: None once something else was told, which may move it.
        self._sounds = Part("output_audio")
        self._sounds_at: tuple[object, object] | None = None
        self._hearing = Hearing()
        self._meter = Meter()

    # -- what is asked of it ---

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of the conversation, in its order."""
        return self._order.shown

    @property
    def dropped(self) -> int:
        """How many items were dropped to stay within the bound."""
        return self._order.dropped

    @property
    def left_behind(self) -> int:
        """How many of them the server still has, which a new connection will not get."""
        return self._order.left_behind

    @property
    def usage(self) -> Usage:
        """What all responses and transcriptions used."""
        return self._meter.usage

    def find(self, item_id: str) -> Item | None:
        """Return an item of the conversation, or ``None``."""
        item = self._known.get(item_id)
        return item if item is not None and item.joined else None

    def takes_audio(self, item_id: object) -> bool:
        """Whether audio that comes now for an item is of it: it may be of the conversation, and is not final."""
        item = self._known.get(item_id) if isinstance(item_id, str) else None
        return item is not None and not item.closed

    @property
    def busy(self) -> str | None:
        """What a break would cut now, as a clause; ``None`` in a gap without reply or speech."""
        if self._responses:
            return "a reply in progress"
        return "the user's speech in progress" if self._hearing.speaking else None

    def knows(self, response_id: str) -> bool:
        """Tell whether a response was announced that runs, or ran not long ago; for the thread that observes."""
        return response_id in self._responses or response_id in self._ended

    # -- what it is told ---

    def observe(self, message: RealtimeMessage) -> None:
        """Take in one message of the server."""
        event = message.outline
        if event is None:
            return
        audio = message.audio
        if audio is not None:  # with an event only in audio deltas
            place = event.get("item_id"), event.get("content_index")
            if place != self._sounds_at:
                self._sounds, self._sounds_at = self._sounding(event), place
            self._sounds.audio_bytes += len(audio)
            return
        handler = _HANDLERS.get(message.type or "")
        if handler is not None:
            self._sounds_at = None
            handler(self, event)

    def _sounding(self, event: Mapping[str, Any]) -> Part:
        """Return the part that audio is of; one of nothing where the mirror has none for it."""
        item = self._about(event)
        if item is None or item.closed:
            return Part("output_audio")
        return item.part(event.get("content_index"), "output_audio")

    def forget_connection(self) -> None:
        """Note that the connection is gone: what was running on it will not be told any more."""
        self._responses.clear()
        self.answering = self._sounds_at = None
        self._hearing.clear()
        self._order.forget_connection()
        for item in self.items:
            if item.status == "in_progress":
                item.status, item.closed = "incomplete", True

    def resumed(self, restored: Collection[str]) -> None:
        """Note which items a new connection has; the others are lost to it."""
        self._order.left_behind = 0
        for item in self.items:
            item.lost = item.id not in restored
            item.as_text = item.as_text or (item.role == "assistant" and not item.lost)

    # -- items ---

    def _about(self, event: Mapping[str, Any]) -> Item | None:
        """Return the item that content is told of; ``None`` where it is none of the conversation."""
        item_id = event.get("item_id")
        if not isinstance(item_id, str):
            return None
        item = self._known.get(item_id)
        if item is not None:
            return item
        response_id = event.get("response_id")
        if not isinstance(response_id, str):
            return self._order.loose(item_id)
        response = self._responses.get(response_id)
        if response is not None and response.outside:
            return None
        item = self._order.loose(item_id)  # it was not announced
        if item is not None:
            self._made_by(item, response_id)
        return item

    def _is_outside(self, response_id: str | None) -> bool:
        response = self._responses.get(response_id or "")
        return response is not None and response.outside

    def _made_by(self, item: Item, response_id: str | None) -> None:
        """Note that a response makes an item."""
        item.made_by, item.response_id = "response", response_id or item.response_id
        response = self._responses.get(response_id or "")
        if response is not None:
            response.items[item] = None
            item.sounds_in(response.audio_format)

    def _take(self, item: Item | None, told: Mapping[str, Any], *, closed: bool) -> None:
        if item is None or item.as_text:
            return
        fill(item, told)
        item.closed = closed or item.closed
        if item.role == "user":
            self._hearing.joined(item)
        self._order.bound_images(item)

    def _item_added(self, event: Mapping[str, Any]) -> None:
        told = _told_item(event)
        if told is not None:
            self._take(self._order.join(told["id"], event, anew=True), told, closed=False)

    def _item_done(self, event: Mapping[str, Any]) -> None:
        told = _told_item(event)
        if told is not None:
            self._take(self._order.join(told["id"], event), told, closed=True)

    def _item_retrieved(self, event: Mapping[str, Any]) -> None:
        """Take what was asked for: an item with its audio, whose length may not have been known."""
        told = _told_item(event)
        item = None if told is None else self._order.join(told["id"], {})
        if told is None or item is None or item.as_text:
            return
        self._take(item, told, closed=False)
        content = told.get("content")
        for index, shown in enumerate(content if isinstance(content, list) else ()):
            audio = text_of(shown, "audio") if isinstance(shown, dict) else None
            part = item.parts.get(index)
            if audio and part is not None and part.heard_ms is None and (item.closed or item.role != "assistant"):
                part.told_ms = (len(audio) * 3 // 4 - audio.count("=", -2)) // self._bytes_per_ms(item, part)

    def _bytes_per_ms(self, item: Item, part: Part) -> int:
        return part.bytes_per_ms if item.role == "assistant" else BYTES_PER_MS.get(self.input_format, 48)

    def _output_item(self, event: Mapping[str, Any], *, closed: bool = False) -> None:
        """Take an item of a response: of the conversation, unless the response is out-of-band."""
        told, response_id = _told_item(event), text_of(event, "response_id")
        if told is None or self._is_outside(response_id):
            return
        inside = response_id in self._responses  # else what comes next for the item or the response will tell
        item = self._order.join(told["id"], {}) if inside else self._order.loose(told["id"])
        if item is not None:
            self._made_by(item, response_id)
        self._take(item, told, closed=closed)

    def _output_item_done(self, event: Mapping[str, Any]) -> None:
        self._output_item(event, closed=True)

    def _item_deleted(self, event: Mapping[str, Any]) -> None:
        item_id = text_of(event, "item_id")
        if item_id is not None:
            self._order.remove(item_id)

    def truncated(self, event: Mapping[str, Any]) -> None:
        """Note how far an item was heard; *event* is a ``conversation.item.truncated``, or the client's truncate."""
        item, end = self._known.get(text_of(event, "item_id") or ""), event.get("audio_end_ms")
        if item is not None and isinstance(end, int):
            part = item.part(event.get("content_index"), "output_audio")
            part.heard_ms = end if part.heard_ms is None else min(part.heard_ms, end)  # what was cut stays cut

    # -- content as it comes ---

    def _content_part(self, event: Mapping[str, Any]) -> None:
        item, told = self._about(event), event.get("part")
        if item is not None and isinstance(told, dict):
            kind = text_of(told, "type") or "output_text"
            kind = {"audio": "output_audio", "text": "output_text"}.get(kind, kind)
            fill_part(item.part(event.get("content_index"), kind), told)

    def _text_delta(self, event: Mapping[str, Any]) -> None:
        self._add_text(event, "output_text")

    def _transcript_delta(self, event: Mapping[str, Any]) -> None:
        self._add_text(event, "output_audio")

    def _add_text(self, event: Mapping[str, Any], kind: str) -> None:
        item, delta = self._about(event), event.get("delta")
        if item is not None and isinstance(delta, str) and not (item.closed and kind != "input_audio"):
            part = item.part(event.get("content_index"), kind)
            if not part.final:
                part.text = part.text + delta if part.text else delta

    def _text_done(self, event: Mapping[str, Any]) -> None:
        self._whole_text(event, "output_text", "text")

    def _transcript_done(self, event: Mapping[str, Any]) -> None:
        self._whole_text(event, "output_audio", "transcript")

    def _whole_text(self, event: Mapping[str, Any], kind: str, key: str) -> None:
        item, text = self._about(event), text_of(event, key)
        if item is not None and text is not None:
            part = item.part(event.get("content_index"), kind)
            part.text, part.final = text, True

    def _arguments_delta(self, event: Mapping[str, Any]) -> None:
        item, delta = self._about(event), event.get("delta")
        if item is not None and not item.closed and isinstance(delta, str):
            item.arguments += delta

    def _arguments_done(self, event: Mapping[str, Any]) -> None:
        item = self._about(event)
        if item is not None:
            item.arguments = text_of(event, "arguments") or item.arguments
            item.name = text_of(event, "name") or item.name

    # -- the user's speech ---

    def _speech_started(self, event: Mapping[str, Any]) -> None:
        self._hearing.started(event)

    def _speech_stopped(self, event: Mapping[str, Any]) -> None:
        self._hearing.stopped(event)

    def _timeout(self, event: Mapping[str, Any]) -> None:
        """Take a stretch of silence that becomes a turn (protocol.md 4.14)."""
        self._speech_started(event)
        self._speech_stopped(event)

    def _cleared(self, _event: Mapping[str, Any]) -> None:
        self._hearing.clear()

    def _committed(self, event: Mapping[str, Any]) -> None:
        item_id = text_of(event, "item_id")
        self._hearing.speaking = None
        item = self._order.join(item_id, event) if item_id else None
        if item is not None:
            item.role, item.made_by = item.role or "user", "speech"
            item.part(0, "input_audio")
            self._hearing.joined(item)

    def _heard_delta(self, event: Mapping[str, Any]) -> None:
        self._add_text(event, "input_audio")

    def _heard(self, event: Mapping[str, Any]) -> None:
        self._whole_text(event, "input_audio", "transcript")
        self._meter.transcribed(event)

    # -- responses ---

    def _response_created(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if isinstance(response, dict) and isinstance(response.get("id"), str):
            if self._meter.has(response["id"]):
                return  # an echo: it is over
            outside = response.get("conversation_id", "") is None
            self._responses[response["id"]] = _Response(outside, _format_of(response))
            if not outside:
                self.answering = response["id"]

    def _response_done(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            return
        response_id = text_of(response, "id")
        inside = not self._is_outside(response_id) and response.get("conversation_id", "") is not None
        output = response.get("output")
        listed = [told for told in output if isinstance(told, dict)] if isinstance(output, list) else []
        if inside:
            self._join_listed(listed, response_id, _format_of(response))
        else:
            self._drop_loose(listed)
        if response_id == self.answering:
            self.answering = None
        running = self._responses.pop(response_id or "", None)
        if running is not None and response_id is not None:
            self._ended = (*self._ended[-15:], response_id)
        for item in () if running is None else running.items:
            if not item.closed:  # it was neither done nor listed
                item.status, item.closed = item.status and _closing(response), True
        self._meter.responded(response)

    def _join_listed(
        self, listed: Collection[Mapping[str, Any]], response_id: str | None, audio_format: str | None
    ) -> None:
        """Take the items that a finished response lists, which may be all that is ever told of them."""
        following = None
        for told in reversed(list(listed)):
            item_id = text_of(told, "id")
            item = self._order.join(item_id, {}, following=following) if item_id else None
            if item is not None:
                self._made_by(item, response_id)
                item.sounds_in(audio_format)
                following = item
            self._take(item, told, closed=True)

    def _drop_loose(self, listed: Collection[Mapping[str, Any]]) -> None:
        """Drop items that might have joined the conversation, and did not."""
        for item_id in (text_of(told, "id") for told in listed):
            if item_id in self._known and self.find(item_id) is None:
                self._order.remove(item_id)


def _format_of(response: Mapping[str, Any]) -> str | None:
    """Return the format of a response's audio, if it is told."""
    told = node(response, "audio", "output", "format", "type")
    return told if isinstance(told, str) else None


def _closing(response: Mapping[str, Any]) -> str:
    return "completed" if response.get("status", "completed") == "completed" else "incomplete"


def _told_item(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the item that an event shows, if it has an id."""
    told = event.get("item")
    return told if isinstance(told, dict) and text_of(told, "id") else None


_HANDLERS: dict[str, Callable[[History, Mapping[str, Any]], None]] = with_retired_names(
    {
        "session.created": History.configure,
        "session.updated": History.configure,
        "conversation.item.added": History._item_added,
        "conversation.item.done": History._item_done,
        "conversation.item.retrieved": History._item_retrieved,
        "conversation.item.deleted": History._item_deleted,
        "conversation.item.truncated": History.truncated,
        "conversation.item.input_audio_transcription.delta": History._heard_delta,
        "conversation.item.input_audio_transcription.completed": History._heard,
        "input_audio_buffer.speech_started": History._speech_started,
        "input_audio_buffer.speech_stopped": History._speech_stopped,
        "input_audio_buffer.timeout_triggered": History._timeout,
        "input_audio_buffer.cleared": History._cleared,
        "input_audio_buffer.committed": History._committed,
        "response.created": History._response_created,
        "response.output_item.added": History._output_item,
        "response.output_item.done": History._output_item_done,
        "response.content_part.added": History._content_part,
        "response.content_part.done": History._content_part,
        "response.output_text.delta": History._text_delta,
        "response.output_text.done": History._text_done,
        "response.output_audio_transcript.delta": History._transcript_delta,
        "response.output_audio_transcript.done": History._transcript_done,
        "response.function_call_arguments.delta": History._arguments_delta,
        "response.function_call_arguments.done": History._arguments_done,
        "response.done": History._response_done,
    }
)
