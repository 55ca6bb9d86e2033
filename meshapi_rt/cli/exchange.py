"""One question and its answer, over an open session: what ``meshapi-rt talk`` does there."""

from __future__ import annotations

import queue
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import pcm
from ..errors import ErrorKind, MeshAPIError, RealtimeError, TimedOut
from ..message import RealtimeMessage
from ..retired import AUDIO_DELTAS
from ..session import RealtimeSession
from .terminal import Meter, OutputGone, Screen, json_line, one_line, printable

__all__ = ["Exchange"]

_PIECE = 0.04  # seconds of audio per event in real time; 20 to 100 ms are usual (protocol.md, section 5)
_FAST_PIECE = 1.0
_TEXT_DELTAS = {"response.output_audio_transcript.delta", "response.output_text.delta"}
_TEXT_ENDS = {"response.output_audio_transcript.done", "response.output_text.done"}


class Exchange:
    """Sends a question, takes the answer, and shows both.

    Threads:
        One: while it waits for the moment to send the next piece it handles what the server says.

    Args:
        session: Nobody else uses it.
        screen: Where to show things.
        timeout: Seconds of the server's silence to bear.
        json: Write the server's events to stdout instead of the transcript.
        keep: Go on when nobody reads stdout any more: the answer is wanted for a file.

    Attributes:
        audio: The answer so far, PCM16.
        first_audio: Seconds from the end of the question to the first audio, ``None`` while there is none.
        spoke: Whether any transcript or text came.
    """

    def __init__(
        self, session: RealtimeSession, screen: Screen, *, timeout: float, json: bool = False, keep: bool = False
    ) -> None:
        self._session = session
        self._messages, self._errors = session.events().queues
        self._screen = screen
        self._timeout = timeout
        self._json = json
        self._keep = keep
        self._joiner = pcm.Joiner()
        self._asked_at = 0.0
        self._line_open = False
        self._seen: set[str] = set()
        self._final: dict[str, Any] = {}
        self.audio = bytearray()
        self.first_audio: float | None = None
        self.spoke = False

    # -- the question ---

    def configure(self, *, voice: str | None = None, instructions: str | None = None) -> None:
        """Switch turn detection off, as the end of the recording is the end of the turn; set what is given.

        Raises:
            RealtimeError: The server refuses it.
            MeshAPIError: The session ended, or the server is silent.
        """
        audio: dict[str, Any] = {"input": {"turn_detection": None}}
        settings: dict[str, Any] = {"type": "realtime", "audio": audio}
        if voice is not None:
            audio["output"] = {"voice": voice}
        if instructions is not None:
            settings["instructions"] = instructions
        self._session.send({"type": "session.update", "session": settings}, self._timeout)
        self._handle_until("session.updated")

    def say(self, question: NDArray[np.int16], *, real_time: bool) -> None:
        """Send the question, commit it and ask for an answer.

        Args:
            question: 24 kHz mono.
            real_time: Send each piece at the moment at which a microphone would have it.

        Raises:
            MeshAPIError: As :meth:`configure`.
        """
        total = pcm.duration(question)
        self._screen.note(f"sending {total:.1f} s of audio" + (" in real time" if real_time else ""))
        meter = Meter(self._screen, total)
        started, sent = time.monotonic(), 0
        for piece in pcm.split(question, _PIECE if real_time else _FAST_PIECE):
            sent += piece.size
            if real_time:
                self._handle_until_moment(started + sent / pcm.SAMPLE_RATE)
            self._session.send_audio(piece, self._timeout)
            meter.show(sent / pcm.SAMPLE_RATE, pcm.level(piece))
        self._asked_at = time.monotonic()
        self._session.send({"type": "input_audio_buffer.commit"}, self._timeout)
        self._session.send({"type": "response.create"}, self._timeout)
        self._screen.end_status()

    # -- the answer ---

    def listen(self) -> None:
        """Take the answer until it is complete.

        Raises:
            MeshAPIError: As :meth:`configure`; or the answer was cut short, or failed.
        """
        try:
            self._handle_until("response.done")
        finally:
            self._end_line()
        status = self._final.get("status")
        if status != "completed":
            raise MeshAPIError(f"the answer is {one_line(str(status))}{_reason(self._final)}")

    def _handle_until(self, kind: str) -> None:
        while kind not in self._seen:
            try:
                message = self._messages.get(timeout=self._timeout)
            except queue.Empty:
                raise TimedOut(
                    f"the server said nothing for {self._timeout:g} s, and {kind} has not come; see --timeout"
                ) from None
            self._handle(message)

    def _handle_until_moment(self, moment: float) -> None:
        """Wait for a moment of the monotonic clock; what comes meanwhile is handled."""
        while (left := moment - time.monotonic()) > 0:
            try:
                message = self._messages.get(timeout=left)
            except queue.Empty:
                return
            self._handle(message)

    def _handle(self, message: RealtimeMessage | None) -> None:
        if message is None:
            raise self._errors.get(timeout=1) or MeshAPIError("the server closed the session before it had answered")
        if self._json:
            self._show_event(message)
        if message.error is not None:
            self._judge(message.error)
        kind = message.type or ""
        self._seen.add(kind)
        if message.audio is not None:
            self._take_audio(message.audio)
        elif kind in AUDIO_DELTAS:
            self._screen.note("a piece of the audio is broken and left out")
        elif kind == "response.output_audio.done":
            self._joiner.flush()
        elif kind in _TEXT_DELTAS:
            self._show_text((message.outline or {}).get("delta"))
        elif kind in _TEXT_ENDS:
            self._end_line()
        elif kind == "response.done":
            final = (message.outline or {}).get("response")
            self._final = final if isinstance(final, dict) else {}

    def _judge(self, error: RealtimeError) -> None:
        """Raise an error that answers what was sent, or ends the session; tell any other."""
        # Not every refusal repeats the event's id (protocol.md 1.9): the type says enough.
        answers = error.event_id is not None or error.type == "invalid_request_error"
        if answers or error.kind is not ErrorKind.REQUEST:
            raise error
        self._screen.note(f"the server reports {one_line(str(error))}")

    def _take_audio(self, audio: bytes) -> None:
        if self.first_audio is None:
            self.first_audio = time.monotonic() - self._asked_at
        self.audio += self._joiner.push(audio)

    # -- what is shown ---

    def _show_event(self, message: RealtimeMessage) -> None:
        if message.event is None or message.text is None:
            self._screen.note("a frame that is no event is left out")
            return
        self._out(json_line(message.text) + "\n")

    def _show_text(self, delta: object) -> None:
        if not isinstance(delta, str) or not delta:
            return
        self.spoke = True
        if not self._json:
            self._line_open = True
            self._out(printable(delta))

    def _end_line(self) -> None:
        if self._line_open:
            self._line_open = False
            self._out("\n")

    def _out(self, text: str) -> None:
        try:
            self._screen.out(text)
        except OutputGone:
            if not self._keep:
                raise


def _reason(response: dict[str, Any]) -> str:
    """Say why a response did not complete, as far as the server says it."""
    details = response.get("status_details")
    if not isinstance(details, dict):
        return ""
    error = details.get("error")
    told = [error.get("code"), error.get("message")] if isinstance(error, dict) else [details.get("reason")]
    return "".join(f": {one_line(str(one))}" for one in told if one)
