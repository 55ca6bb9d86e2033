"""``Reply``: what came back for a question."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import attrs
import numpy as np
from numpy.typing import NDArray

from . import audio_files, pcm
from .errors import AudioFileError, MissingExtraError, RealtimeError
from .tools.calls import ToolCall
from .usage import Usage

__all__ = ["Reply", "Timings"]


@attrs.frozen(kw_only=True)
class Timings:
    """Seconds, on this side's clock.

    Attributes:
        waited: From the call until the question had been sent: behind other calls and responses, and for the line.
        first_text: From then to the first text or transcript; ``None`` where none came.
        first_audio: From then to the first audio, likewise.
        total: From then to the end of the reply.
    """

    waited: float
    first_text: float | None
    first_audio: float | None
    total: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Reply:
    """One answer, whole. Where tools of the session were called on the way, it is the last response.

    Attributes:
        text: What was written; empty in a spoken reply.
        transcript: What was said, as text; empty in a written reply. ``str(reply)`` is either.
        audio: What was said: ``int16`` samples at 24 kHz, shape ``(frames,)``, whatever the session's output format is.
            Read-only; empty in a written reply.
        status: ``completed``, ``cancelled``, ``incomplete`` or ``failed``.
        status_details: Why it is not ``completed``, as the server tells it (protocol.md 2.5), else ``None``.
        tool_calls: The calls of functions, of every response on the way. Those of the session's tools have their
            outputs; the others are for the caller to answer.
        items: What it is made of, as the server shows it in ``response.done``: without audio.
        usage: What the server counted, of every response on the way.
        response_id: The server's name for it.
        timings: How long it took.
    """

    text: str
    transcript: str
    audio: NDArray[np.int16]
    status: str
    status_details: Mapping[str, Any] | None
    tool_calls: tuple[ToolCall, ...]
    items: tuple[Mapping[str, Any], ...]
    usage: Usage
    response_id: str
    timings: Timings

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.audio.size / pcm.SAMPLE_RATE

    @property
    def ok(self) -> bool:
        """Whether it is complete."""
        return self.status == "completed"

    @property
    def error(self) -> RealtimeError | None:
        """Why the reply failed, as an exception to raise; ``None`` where it did not."""
        details = self.status_details or {}
        told = details.get("error")
        if self.status != "failed":
            return None
        known: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
        return RealtimeError(known.get("code"), known.get("message") or "the reply failed", type=known.get("type"))

    def save(self, target: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the audio as a WAV file: 24 kHz, mono, 16 bit.

        Raises:
            AudioFileError: There is no audio, or the file cannot be written.
        """
        self._need_audio("saved")
        audio_files.write(target, self.audio)

    def play(self, device: int | str | None = None) -> None:
        """Play the audio, and wait until it has been played.

        Args:
            device: A sound device by number or name; ``None`` for the system's.

        Raises:
            MissingExtraError: sounddevice is not installed: it comes with ``[audio]``.
            AudioFileError: There is no audio.
        """
        self._need_audio("played")
        try:
            import sounddevice  # noqa: PLC0415 - an extra
        except (ImportError, OSError) as exc:  # OSError: the library that it wraps is missing
            raise MissingExtraError("playing a reply", "audio") from exc
        sounddevice.play(self.audio, pcm.SAMPLE_RATE, device=device)
        try:
            sounddevice.wait()
        except BaseException:
            sounddevice.stop()
            raise

    def _need_audio(self, done: str) -> None:
        if not self.audio.size:
            raise AudioFileError(
                f"this reply has no audio that could be {done}: it is {self.status}, and says {str(self)!r}; "
                'for speech the session or ask() needs output_modalities="audio"'
            )

    def __str__(self) -> str:
        return self.text or self.transcript

    def __repr__(self) -> str:
        said = str(self)
        facts = [repr(said if len(said) <= 60 else f"{said[:59]}…")]
        if self.audio.size:
            facts.append(f"{self.duration:.1f} s of audio")
        facts += [f"calls {call.name}" for call in self.tool_calls]
        if not self.ok:
            facts.append(self.status)
        return f"<Reply {', '.join(facts)}>"

    def _repr_html_(self) -> str:
        from .notebook import reply_html  # noqa: PLC0415 - only notebooks need it

        return reply_html(self)
