"""``RealtimeMessage``, and how an event becomes the text of a frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from .codecs import chosen
from .errors import EventError, RealtimeError

if TYPE_CHECKING:
    from .event_types import ServerEvent

__all__ = ["RealtimeMessage", "encode_append", "encode_event", "event_object"]


@attrs.define(repr=False, eq=False)
class RealtimeMessage:
    """One frame of the server.

    Attributes:
        audio: Raw audio: the payload of a binary frame, or the decoded ``delta`` of a
            ``response.output_audio.delta`` event; in the session's output format, PCM16 at 24 kHz by default. Its
            edges may fall inside a sample: ``pcm.Joiner`` carries the odd byte. Else ``None``.
        type: The event's ``type``; ``None`` where there is no event or its type is no string.
        error: For an ``error`` event, the exception that ``receive()`` raises for it.
        size: Bytes of the frame's payload; 0 for a message of our own.
        outline: What our own rooms read instead of ``event``: the same, but maybe with a mark for a long ``delta``.
        charged: What an inbox charged for all messages up to this one, in bytes.
    """

    # Not frozen: one is made for every frame, and that would take twice as long.
    audio: bytes | None = None
    _text: str | None = None
    outline: dict[str, Any] | None = None
    type: str | None = None
    error: RealtimeError | None = None
    _delta_at: int = 0  # where in the text the delta begins that the outline lacks; 0 for none
    _around: tuple[bytes, bytes] | None = None  # of a text that is not kept: what stands before the audio, and behind
    size: int = 0
    charged: int = attrs.field(default=0, init=False)

    @property
    def text(self) -> str | None:
        """The JSON text of a text frame, as on the wire; ``None`` for a binary frame."""
        if self._around is not None and self._text is None:
            self._text = self._delta_text().join(part.decode() for part in self._around)
        return self._text

    def _delta_text(self) -> str:
        assert self.audio is not None
        return chosen().encode_base64(self.audio).decode()

    @property
    def event(self) -> ServerEvent | None:
        """The parsed object of a text frame, as on the wire; ``None`` for a binary frame or where it is no object.

        Its type is what the protocol says, see ``meshapi_rt.event_types``; a comparison of ``event["type"]`` tells a
        type checker which event it is. Nothing is checked at run time: what a server sends beside the protocol is
        there all the same.
        """
        start = self._delta_at
        if start:
            text = self._text
            assert self.outline is not None
            self.outline["delta"] = self._delta_text() if text is None else text[start : text.index('"', start)]
            self._delta_at = 0  # last: another thread may ask at the same time
        return self.outline  # type: ignore[return-value]  # believed, not checked

    def get(self, field: str) -> Any:
        """Return a top-level field of the event, such as ``item_id``; ``None`` where there is none, or no event.

        Of audio this takes less than ``event``, for which the ``delta`` is made of the audio again.
        """
        event = self.event if field == "delta" else self.outline
        return None if event is None else event.get(field)

    @property
    def is_binary(self) -> bool:
        """Whether it came as a binary frame."""
        return self._text is None and self._around is None

    def __repr__(self) -> str:
        facts = [repr(self.type)] if self.outline is not None else []
        if self.is_binary:
            facts.append("binary")
        elif self.outline is None:
            facts.append(f"{len(self.text or '')} characters that are no JSON object")
        if self.audio is not None:
            facts.append(f"audio of {len(self.audio)} bytes")
        if self.error is not None:
            facts.append(f"code {self.error.code!r}")
        return f"<RealtimeMessage {', '.join(facts)}>"


# -- sending ---


def event_object(event: object, next_id: Callable[[], str]) -> dict[str, Any]:
    """Return a shallow copy of an event that a caller wants to send, as a ``dict`` with an ``event_id``.

    Args:
        event: A mapping with a string ``type``, or an instance of an attrs class with such a field.
        next_id: Makes the id of an event that has none.

    Raises:
        EventError: It is neither, or has no such ``type``.
    """
    if type(event) is dict:  # mostly; the question below is dear
        copy = event.copy()
    elif isinstance(event, Mapping):
        copy = dict(event)
    elif attrs.has(type(event)):
        copy = attrs.asdict(event, recurse=False)  # type: ignore[arg-type]
    else:
        raise EventError(f"an event must be a mapping or an attrs instance, not {type(event).__name__}")
    kind = copy.get("type")
    if not isinstance(kind, str) or not kind:
        seen = "no 'type'" if "type" not in copy else f"the type {kind!r}"
        raise EventError(f"an event must have a string 'type' such as 'response.create'; this one has {seen}")
    event_id = copy.get("event_id")
    if event_id is not None and not isinstance(event_id, str):
        raise EventError(f"event_id must be a string, not {event_id!r}: leave it out to have one made")
    copy["event_id"] = event_id or next_id()
    return copy


def _plain(value: object) -> object:
    """Turn what JSON does not know, but what is plainly an object or a list, into one."""
    if isinstance(value, Mapping):
        return dict(value)
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
    raise TypeError(f"{type(value).__name__} has no JSON form")


_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)


def encode_event(event: Mapping[str, Any]) -> bytes:
    """Return an event as UTF-8 JSON.

    Raises:
        EventError: A value has no JSON form: NaN, infinity, bytes, an array, a circular reference, half of a
            surrogate pair, ...
    """
    try:
        return (_plain_texts(event) or _ENCODER.encode(event)).encode()
    except UnicodeEncodeError as exc:
        why = f"a text holds half of a surrogate pair ({exc.object[exc.start]!r})"
    except (TypeError, ValueError, RecursionError) as exc:
        why = str(exc) or type(exc).__name__
    raise EventError(f"the event {event['type']!r} cannot be sent as JSON: {why}; nothing was sent")


def _plain_texts(event: Mapping[str, Any]) -> str | None:
    """Return an event of nothing but strings as JSON, if nothing in them needs an escape: a third of the time."""
    try:
        everything = "".join((*event, *event.values()))
    except TypeError:
        return None
    if not everything.isprintable() or '"' in everything or "\\" in everything:
        return None
    return '{"' + '","'.join(map('":"'.join, event.items())) + '"}'


_BEFORE_ID, _BEFORE_AUDIO, _BEHIND = b'{"event_id":"', b'","type":"input_audio_buffer.append","audio":"', b'"}'


def encode_append(event_id: str, audio: bytes) -> bytes:
    """Return an ``input_audio_buffer.append`` event with *audio*, which is base64 already."""
    return b"".join((_BEFORE_ID, event_id.encode(), _BEFORE_AUDIO, audio, _BEHIND))
