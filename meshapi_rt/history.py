"""The mirror of the server's conversation and configuration, from its events alone. Bookkeeping: no thread, no I/O.

One thread, the reader, calls :meth:`History.observe`; it is told nothing by the side that sends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from .message import RealtimeMessage
from .retired import AUDIO_DELTAS, current_name

__all__ = ["History", "Item", "Part"]

_BYTES_PER_MS = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}  # protocol.md 5


@attrs.define
class Part:
    """One content part of a message item.

    Attributes:
        type: ``input_text``, ``input_audio``, ``input_image``, ``output_text`` or ``output_audio``.
        text: The text, or the transcript of the audio as far as it is known; ``None`` where none is.
        audio_bytes: Audio of this part that was received.
        heard_ms: Where the audio was truncated, in milliseconds; ``None`` where it was not.
        image_url: Of an image.
    """

    type: str
    text: str | None = None
    audio_bytes: int = 0
    heard_ms: int | None = None
    image_url: str | None = None
    detail: str | None = None


@attrs.define
class Item:
    """One item of the conversation, as far as its events told."""

    id: str
    type: str = "message"
    role: str | None = None
    status: str | None = None
    parts: dict[int, Part] = attrs.field(factory=dict)
    call_id: str | None = None
    name: str | None = None
    arguments: str = ""
    output: str | None = None
    complete: bool = False

    def part(self, index: object, kind: str) -> Part:
        """Return the part at *index*, made if it is new."""
        at = index if isinstance(index, int) else 0
        if at not in self.parts:
            self.parts[at] = Part(kind)
        return self.parts[at]


class History:
    """What the server's events say about its session and its conversation.

    Tolerant of events that are missing, late, repeated or named as in the beta.

    Attributes:
        settings: The effective configuration, as the server last confirmed it.
        id: The server's name for the session.
        expires_at: Unix seconds at which the server will end it, or ``None``.
        answering: The id of the response that runs in the conversation, or ``None``.
    """

    def __init__(self) -> None:
        self.settings: Mapping[str, Any] = {}
        self.id: str | None = None
        self.expires_at: float | None = None
        self.answering: str | None = None
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._responses: set[str] = set()  # running, the out-of-band ones too
        self._ended: deque[str] = deque(maxlen=16)  # the last ones that were
        self._out_of_band: set[str] = set()
        self._speaking: str | None = None  # the item that the user is speaking

    # -- what is asked of it ---

    @property
    def items(self) -> Iterator[Item]:
        """The items of the conversation, in its order."""
        return (self._items[item_id] for item_id in list(self._order))

    @property
    def busy(self) -> str | None:
        """What a break would cut now, as a clause; ``None`` in a gap without reply or speech."""
        if self._responses:
            return "a reply in progress"
        return "the user's speech in progress" if self._speaking else None

    def knows(self, response_id: str) -> bool:
        """Tell whether a response runs, or ran not long ago; for the thread that observes."""
        return response_id in self._responses or response_id in self._ended

    def _setting(self, *path: str) -> Any:
        """Return what the configuration says at a path; ``None`` where it says nothing."""
        node: Any = self.settings
        for key in path:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    @property
    def manual_turns(self) -> bool:
        """Whether the client says where a turn ends, because turn detection is off."""
        node = self._setting("audio", "input")
        return isinstance(node, Mapping) and node.get("turn_detection", "") is None

    @property
    def takes_pcm(self) -> bool:
        """Whether the input format is PCM, as it is unless it was changed."""
        return self.input_format == "audio/pcm"

    @property
    def input_format(self) -> str:
        """``audio/pcm``, ``audio/pcmu`` or ``audio/pcma``."""
        return str(self._setting("audio", "input", "format", "type") or "audio/pcm")

    @property
    def output_format(self) -> str:
        """The format of the answers, likewise."""
        return str(self._setting("audio", "output", "format", "type") or "audio/pcm")

    @property
    def session_type(self) -> str:
        """``realtime`` or ``transcription``."""
        kind = self.settings.get("type")
        return kind if isinstance(kind, str) else "realtime"

    # -- what it is told ---

    def observe(self, message: RealtimeMessage) -> None:
        """Take in one message of the server."""
        event, kind = message.outline, message.type
        if event is None or kind is None:
            return
        if kind in AUDIO_DELTAS:
            self._audio_delta(event, message.audio)
            return
        handler = _HANDLERS.get(current_name(kind))
        if handler is not None:
            handler(self, event)

    def forget_connection(self) -> None:
        """Note that the connection is gone: what was running on it will not be told any more."""
        self._responses.clear()
        self._out_of_band.clear()
        self.answering = None
        self._speaking = None

    def _session(self, event: Mapping[str, Any]) -> None:
        session = event.get("session")
        if not isinstance(session, dict):
            return
        self.settings = session
        self.id = _text(session, "id") or self.id
        expires = session.get("expires_at")
        if isinstance(expires, (int, float)) and not isinstance(expires, bool):
            self.expires_at = float(expires)

    def _item(self, event: Mapping[str, Any]) -> None:
        """Any event that shows an item of the conversation."""
        told = event.get("item")
        if not isinstance(told, dict) or not _text(told, "id"):
            return
        item = self._join(told["id"], event)
        _fill(item, told)

    def _output_item(self, event: Mapping[str, Any]) -> None:
        """An item of a response: of the conversation, unless the response is out-of-band."""
        if _text(event, "response_id") not in self._out_of_band:
            self._item(event)

    def _join(self, item_id: str, event: Mapping[str, Any]) -> Item:
        """Return the item, put into its place if it is new."""
        if item_id not in self._items:
            self._items[item_id] = Item(item_id)
            self._order.insert(self._place(event), item_id)
        return self._items[item_id]

    def _place(self, event: Mapping[str, Any]) -> int:
        if "previous_item_id" not in event:
            return len(self._order)
        if event["previous_item_id"] is None:
            return 0
        previous = _text(event, "previous_item_id")
        return self._order.index(previous) + 1 if previous and previous in self._items else len(self._order)

    def _committed(self, event: Mapping[str, Any]) -> None:
        item_id = _text(event, "item_id")
        self._speaking = None
        if item_id:
            item = self._join(item_id, event)
            item.role = item.role or "user"
            item.part(0, "input_audio")

    def _cleared(self, _event: Mapping[str, Any]) -> None:
        self._speaking = None

    def _known(self, event: Mapping[str, Any]) -> Item | None:
        return self._items.get(_text(event, "item_id") or "")

    def _deleted(self, event: Mapping[str, Any]) -> None:
        item_id = _text(event, "item_id")
        if item_id is not None and item_id in self._items:
            del self._items[item_id]
            self._order.remove(item_id)

    def truncated(self, event: Mapping[str, Any]) -> None:
        """Note how far an item was heard; *event* is a ``conversation.item.truncated``, or the client's truncate."""
        item, end = self._known(event), event.get("audio_end_ms")
        if item is not None and isinstance(end, int):
            part = item.part(event.get("content_index"), "output_audio")
            part.text = _heard(part, end, _BYTES_PER_MS.get(self.output_format, 48))
            part.heard_ms = end

    # -- content as it comes ---

    def _audio_delta(self, event: Mapping[str, Any], audio: bytes | None) -> None:
        item = self._known(event)
        if item is not None and audio is not None:
            item.part(event.get("content_index"), "output_audio").audio_bytes += len(audio)

    def _content_part(self, event: Mapping[str, Any]) -> None:
        item, told = self._known(event), event.get("part")
        if item is not None and isinstance(told, dict):
            kind = {"audio": "output_audio", "text": "output_text"}.get(told.get("type", ""), told.get("type"))
            _fill_part(item.part(event.get("content_index"), str(kind)), told)

    def _add_text(self, event: Mapping[str, Any], kind: str, key: str = "delta") -> None:
        item, delta = self._known(event), _text(event, key)
        if item is not None and delta is not None:
            part = item.part(event.get("content_index"), kind)
            if part.heard_ms is None:
                part.text = delta if key != "delta" else (part.text or "") + delta

    def _arguments(self, event: Mapping[str, Any]) -> None:
        item = self._known(event)
        if item is not None:
            item.arguments += _text(event, "delta") or ""

    def _arguments_done(self, event: Mapping[str, Any]) -> None:
        item = self._known(event)
        if item is not None:
            item.arguments = _text(event, "arguments") or item.arguments
            item.name = _text(event, "name") or item.name

    # -- turns ---

    def _response_created(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if isinstance(response, dict) and isinstance(response.get("id"), str):
            self._responses.add(response["id"])
            if "conversation_id" in response and response["conversation_id"] is None:
                self._out_of_band.add(response["id"])
            else:
                self.answering = response["id"]

    def _response_done(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            return
        response_id = _text(response, "id")
        inside = response_id not in self._out_of_band and response.get("conversation_id", "") is not None
        output = response.get("output")
        for told in output if inside and isinstance(output, list) else ():
            self._item({"item": told})
        if response_id == self.answering:
            self.answering = None
        if response_id in self._responses:
            self._responses.remove(response_id)
            self._ended.append(response_id)
        self._out_of_band.discard(str(response_id))

    def _speech_started(self, event: Mapping[str, Any]) -> None:
        self._speaking = _text(event, "item_id") or "?"


def _text(source: Mapping[str, Any], key: str) -> str | None:
    value = source.get(key)
    return value if isinstance(value, str) else None


def _heard(part: Part, end_ms: int, bytes_per_ms: int) -> str | None:
    """Estimate which part of a transcript was heard: text and audio cannot be aligned, so by length, in words."""
    whole = part.audio_bytes / bytes_per_ms
    if not part.text or not whole or end_ms >= whole:
        return part.text
    cut = part.text[: round(len(part.text) * end_ms / whole)]
    return cut.rpartition(" ")[0] if cut != part.text else cut


def _fill(item: Item, told: Mapping[str, Any]) -> None:
    """Take over what an item object says; what it leaves out stays."""
    item.type = _text(told, "type") or item.type
    for key in ("role", "status", "call_id", "name", "output"):
        value = _text(told, key)
        if value is not None:
            setattr(item, key, value)
    item.arguments = _text(told, "arguments") or item.arguments
    item.complete = item.status == "completed" or item.complete
    content = told.get("content")
    for index, part in enumerate(content if isinstance(content, list) else ()):
        if isinstance(part, dict):
            _fill_part(item.part(index, _part_type(item, part)), part)


def _part_type(item: Item, told: Mapping[str, Any]) -> str:
    """Return a part's GA type; beta servers and ``retrieved`` use short ones."""
    kind = _text(told, "type") or "text"
    if kind in ("audio", "text"):
        return f"{'output' if item.role == 'assistant' else 'input'}_{kind}"
    return kind


def _fill_part(part: Part, told: Mapping[str, Any]) -> None:
    if part.heard_ms is not None:
        return  # the server tells the whole transcript of an item that was cut before it was done
    for key in ("transcript", "text"):
        part.text = _text(told, key) or part.text
    part.image_url = _text(told, "image_url") or part.image_url
    part.detail = _text(told, "detail") or part.detail


_HANDLERS: dict[str, Callable[[History, Mapping[str, Any]], None]] = {
    "session.created": History._session,
    "session.updated": History._session,
    "conversation.item.added": History._item,
    "conversation.item.done": History._item,
    "conversation.item.retrieved": History._item,
    "conversation.item.deleted": History._deleted,
    "conversation.item.truncated": History.truncated,
    "conversation.item.input_audio_transcription.delta": lambda self, event: self._add_text(event, "input_audio"),
    "conversation.item.input_audio_transcription.completed": lambda self, event: self._add_text(
        event, "input_audio", "transcript"
    ),
    "input_audio_buffer.speech_started": History._speech_started,
    "input_audio_buffer.cleared": History._cleared,
    "input_audio_buffer.committed": History._committed,
    "response.created": History._response_created,
    "response.output_item.added": History._output_item,
    "response.output_item.done": History._output_item,
    "response.content_part.added": History._content_part,
    "response.content_part.done": History._content_part,
    "response.output_text.delta": lambda self, event: self._add_text(event, "output_text"),
    "response.output_text.done": lambda self, event: self._add_text(event, "output_text", "text"),
    "response.output_audio_transcript.delta": lambda self, event: self._add_text(event, "output_audio"),
    "response.output_audio_transcript.done": lambda self, event: self._add_text(event, "output_audio", "transcript"),
    "response.function_call_arguments.delta": History._arguments,
    "response.function_call_arguments.done": History._arguments_done,
    "response.done": History._response_done,
}
