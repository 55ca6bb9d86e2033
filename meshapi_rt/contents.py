"""What a user says, as items of the conversation: text, audio and images (protocol.md 2.4 and 4.12)."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from . import pcm
from .errors import AudioFormatError, ConfigurationError, EventError
from .wire_format import format_named

__all__ = [
    "Image",
    "Input",
    "Message",
    "assistant_item",
    "item_id",
    "output_item",
    "system_item",
    "user_items",
    "wire_audio",
]

Input: TypeAlias = "str | Path | pcm.AudioLike"
"""Text is a ``str``; audio is the ``Path`` of a file, PCM16 bytes, or an int16 or float array."""
Image: TypeAlias = "Path | bytes"
"""A PNG or JPEG: the ``Path`` of a file, or what is in it."""

_LONGEST = 300  # seconds of audio per item: 14.4 MB, as an append may have 15 MiB (protocol.md 1.5, T)
_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_IMAGE_NAMES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")


def item_id() -> str:
    """Return an id for a new item, so that the answers about it can be told."""
    return f"item_{os.urandom(8).hex()}"


def wire_audio(audio: Path | pcm.AudioLike, rate: int, audio_format: str) -> bytes:
    """Return audio as the bytes of a format of the protocol.

    Args:
        audio: A file, or samples.
        rate: Samples per second of those; a file says its own.
        audio_format: ``audio/pcm``, ``audio/pcmu`` or ``audio/pcma``.

    Raises:
        AudioFormatError: It is no audio, or empty.
        AudioFileError: The file cannot be read.
        MissingExtraError: It must be resampled, and soxr is not installed.
    """
    wanted = format_named(audio_format)
    if isinstance(audio, os.PathLike):
        from . import audio_files  # noqa: PLC0415 - few need it

        samples = audio_files.read(_audio_path(Path(audio)), rate=wanted.rate)
    else:
        samples = pcm.resample(audio, rate, wanted.rate)
    if not samples.size:
        raise AudioFormatError("there is no audio in it: it has no samples")
    return wanted.encode(samples)


def _audio_path(path: Path) -> Path:
    if path.suffix.lower() in _IMAGE_NAMES:
        raise ConfigurationError(f"a Path stands for audio, and {str(path)!r} looks like an image: pass it as image=")
    return path


# -- parts and items ---


@attrs.frozen
class Message:
    """What a user says in one go.

    Attributes:
        inputs: Text and audio, in their order.
        images: PNG or JPEG, behind them.
        detail: ``"auto"``, ``"low"`` or ``"high"``, of the images.
        rate: Samples per second of audio that is no file.
    """

    inputs: Sequence[Input]
    images: Image | Sequence[Image] | None = None
    detail: str = "auto"
    rate: int = pcm.SAMPLE_RATE


def user_items(message: Message, audio_format: str) -> list[dict[str, Any]]:
    """Return the user's message: one item, more where there is more audio than one may hold; none for no input.

    Args:
        message: What is said.
        audio_format: The session's input format.

    Raises:
        ConfigurationError: An input is of no kind that there is.
        AudioFormatError: Audio is; likewise ``AudioFileError``.
    """
    items: list[list[dict[str, Any]]] = [[]]
    spoken = 0  # bytes of audio in the last item
    room = _LONGEST * 1000 * format_named(audio_format).bytes_per_ms
    for part, size in _parts(message, audio_format, room):
        if spoken + size > room:
            items.append([])
            spoken = 0
        items[-1].append(part)
        spoken += size
    items[-1] += [_image_part(image, message.detail) for image in _several(message.images)]
    return [{"id": item_id(), "type": "message", "role": "user", "content": parts} for parts in items if parts]


def _parts(message: Message, audio_format: str, room: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the content parts of inputs, and how many bytes of audio are in each."""
    for one in message.inputs:
        if isinstance(one, str):
            yield {"type": "input_text", "text": one}, 0
            continue
        audio = wire_audio(one, message.rate, audio_format)
        for start in range(0, len(audio), room):
            piece = audio[start : start + room]
            yield {"type": "input_audio", "audio": base64.b64encode(piece).decode()}, len(piece)


def _several(images: Image | Sequence[Image] | None) -> Sequence[Image]:
    if images is None:
        return ()
    return images if isinstance(images, (list, tuple)) else (images,)


def _image_part(image: Image, detail: str) -> dict[str, Any]:
    if detail not in ("auto", "low", "high"):
        raise ConfigurationError(f'the detail of an image must be "auto", "low" or "high", not {detail!r}')
    if isinstance(image, os.PathLike):
        name = repr(str(image))
        try:
            data = Path(image).read_bytes()
        except OSError as exc:
            raise ConfigurationError(f"cannot read the image {name}: {exc.strerror or exc}") from exc
    elif isinstance(image, (bytes, bytearray, memoryview)):
        name, data = f"of {len(image)} bytes", bytes(image)
    else:
        raise ConfigurationError(f"an image must be a pathlib.Path or bytes, not {type(image).__name__}")
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise ConfigurationError(f"the image {name} is neither PNG nor JPEG: convert it to one of them")
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "input_image", "image_url": url, "detail": detail}


def system_item(text: str) -> dict[str, Any]:
    """Return a system message."""
    return _message("system", "input_text", text)


def assistant_item(text: str) -> dict[str, Any]:
    """Return a message of the assistant: text only, for the protocol takes no audio there (protocol.md 2.1, T)."""
    return _message("assistant", "output_text", text)


def _message(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"id": item_id(), "type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def output_item(call_id: str, output: object) -> dict[str, Any]:
    """Return the output of a function; what is no string is written as JSON.

    Raises:
        EventError: It has no JSON form.
    """
    if not isinstance(output, str):
        try:
            output = json.dumps(output, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as exc:
            raise EventError(f"the output of the call {call_id} has no JSON form: {exc}; pass a str") from exc
    return {"id": item_id(), "type": "function_call_output", "call_id": call_id, "output": output}
