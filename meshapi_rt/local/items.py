"""Items of a conversation: what they hold, and how they look on the wire (protocol.md 2.4)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .failures import Refusal
from .formats import WireFormat
from .ids import new_call_id, new_id

__all__ = ["Item", "Part", "Sound", "decode_base64"]

_BAD_AUDIO = "Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but got "


def decode_base64(audio: str, path: str) -> bytes:
    """Decode strictly: standard alphabet, padding, no line breaks, not empty (protocol.md 1.9, section 5).

    Raises:
        Refusal: *audio* is none of that.
    """
    try:
        data: bytes | None = base64.b64decode(audio.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        data = None
    if data is None or len(audio) != 4 * ((len(data) + 2) // 3):  # the library lets surplus padding pass
        raise Refusal("invalid_value", f"Invalid '{path}'. {_BAD_AUDIO}an invalid value.", path)
    if not data:
        raise Refusal("invalid_value", f"Invalid '{path}'. {_BAD_AUDIO}empty bytes.", path)
    return data


class Sound:
    """Audio as it was on the wire, with its format.

    Grows while a response is spoken; afterwards it only ever gets shorter, when it is truncated.
    """

    def __init__(self, fmt: WireFormat, data: bytes = b"") -> None:
        self.format = fmt
        self._data: bytes | bytearray = data

    def __len__(self) -> int:
        return len(self._data)

    @property
    def ms(self) -> int:
        """The length in whole milliseconds."""
        return len(self._data) // self.format.bytes_per_ms

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += data

    def cut(self, ms: int) -> None:
        """Forget what lies behind the first *ms* milliseconds."""
        self._data = bytes(self._data[: ms * self.format.bytes_per_ms])

    def copy(self) -> Sound:
        """Take a picture; sounds that no longer grow share their bytes with it."""
        return Sound(self.format, self.data())

    def data(self) -> bytes:
        """Return the bytes, in the sound's own format."""
        return bytes(self._data)

    def finish(self) -> None:
        """Say that it grows no more."""
        self._data = bytes(self._data)

    def pcm(self) -> NDArray[np.int16]:
        """Decode to samples at 24 kHz."""
        return self.format.to_pcm(self._data)


class Part:
    """One content part: its wire fields without audio, and the audio beside them.

    Attributes:
        fields: For example ``{"type": "output_audio", "transcript": "…"}``.
        sound: The audio of an ``input_audio`` or ``output_audio`` part.
        truncated: The client cut it: what a running response still says is no longer remembered.
    """

    def __init__(self, fields: dict[str, Any], sound: Sound | None = None) -> None:
        self.fields = fields
        self.sound = sound
        self.truncated = False

    @property
    def type(self) -> str:
        """The content type."""
        return str(self.fields["type"])

    def wire(self, *, with_audio: bool) -> dict[str, Any]:
        """Show the part; audio is shown by ``conversation.item.retrieved`` only."""
        fields = dict(self.fields)
        if with_audio and self.sound is not None:
            fields["audio"] = base64.b64encode(self.sound.data()).decode("ascii")
        return fields


class Item:
    """One item of a conversation or of a response.

    Attributes:
        id: Made by the client or by this server.
        type: ``message``, ``function_call``, ``function_call_output``, or one of the ``mcp`` types.
        role: Of a message, else ``None``.
        status: ``in_progress``, ``completed`` or ``incomplete``.
        fields: What else is on the wire: ``name``, ``arguments``, ``call_id``, ``output``, …
        parts: The content of a message, else empty.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - the protocol's own word
        fields: dict[str, Any],
        *,
        item_id: str | None = None,
        role: str | None = None,
        status: str = "completed",
        parts: list[Part] | None = None,
    ) -> None:
        self.id = item_id or new_id("item")
        self.type = type
        self.role = role
        self.status = status
        self.fields = fields
        self.parts = parts or []

    @classmethod
    def from_client(cls, item: Mapping[str, Any], path: str, audio_format: WireFormat) -> Item:
        """Take a validated item of a client; its audio is in the session's input format.

        Raises:
            Refusal: Its audio is not base64.
        """
        known = {"id", "object", "type", "status", "role", "content"}
        fields = {name: value for name, value in item.items() if name not in known}
        if item["type"] == "function_call":
            fields.setdefault("call_id", new_call_id())
        parts = [
            _client_part(part, f"{path}.content[{index}]", audio_format)
            for index, part in enumerate(item.get("content", ()))
        ]
        return cls(item["type"], fields, item_id=item.get("id"), role=item.get("role"), parts=parts)

    @classmethod
    def from_speech(cls, item_id: str | None, sound: Sound) -> Item:
        """Make the user's item out of committed audio; its transcript may follow later."""
        part = Part({"type": "input_audio", "transcript": None}, sound)
        return cls("message", {}, item_id=item_id, role="user", parts=[part])

    def wire(self, *, with_audio: bool = False) -> dict[str, Any]:
        """Show the item as events do."""
        shown: dict[str, Any] = {"id": self.id, "type": self.type}
        if not self.type.startswith("mcp_"):  # those have no status: protocol.md 2.4
            shown["status"] = self.status
        if self.role is not None:
            shown["role"] = self.role
        shown.update(self.fields)
        if self.role is not None:
            shown["content"] = [part.wire(with_audio=with_audio) for part in self.parts]
        return shown


def _client_part(part: Mapping[str, Any], path: str, audio_format: WireFormat) -> Part:
    fields = dict(part)
    sound = None
    if fields["type"] == "input_audio":
        sound = Sound(audio_format, decode_base64(fields.pop("audio"), f"{path}.audio"))
        fields.setdefault("transcript", None)
    return Part(fields, sound)
