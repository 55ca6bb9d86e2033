"""``ask`` and its kin: the blocking way to talk to a model."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import cells, contents, pcm
from .contents import Image, Input
from .engine import Engine
from .errors import ConfigurationError
from .shapes import ResponseOptions, response_shape
from .waiting import Wait

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .exchange import Exchange
    from .pacing import Progress
    from .reply import Reply
    from .reply_stream import ReplyStream

__all__ = ["Asking"]


class Asking:
    """What can be asked: a part of the session's face.

    What does the work is loaded with the first question.
    """

    _engine: Engine

    def ask(
        self,
        *inputs: Input,
        image: Image | Sequence[Image] | None = None,
        image_detail: Literal["auto", "low", "high"] = "auto",
        rate: int = pcm.SAMPLE_RATE,
        conversation: Literal["auto", "none"] = "auto",
        timeout: float | None = 120.0,
        cancel: threading.Event | None = None,
        **options: Unpack[ResponseOptions],
    ) -> Reply:
        """Ask, and wait for the whole answer.

        Works whether or not turn detection is on: what is said goes in as an item, which nobody answers but this
        call. Calls of several threads queue up behind each other, and behind a response that runs.

        Args:
            *inputs: A ``str`` is text; a ``Path`` is an audio file; PCM16 bytes, an int16 or a float array is audio.
                None at all: the model answers the conversation as it is.
            image: PNG or JPEG, as ``Path`` or bytes; one or several.
            image_detail: How closely images are looked at.
            rate: Samples per second of bytes and arrays.
            conversation: ``"none"`` asks beside the conversation: question and answer do not join it, and several may
                run at once. The model then sees the question and what ``input=`` holds; without a question, the
                conversation.
            timeout: Seconds for all of it; ``None`` for without limit.
            cancel: Ends the wait with ``Cancelled`` when it is set.
            **options: What is to differ from the session for this answer: see ``ResponseOptions``.

        Returns:
            The answer; ``status`` tells whether it is complete, and ``error`` why it failed.

        Raises:
            RealtimeError: The server refused the question.
            TimedOut: Time was up. Like ``Cancelled`` and Ctrl-C this cancels the response; the question stays in the
                conversation, and the session lives on.
            ConnectionLost: The connection broke; with ``reconnect`` the session goes on. Whether the server has the
                question is not known; ask again.
            SessionClosed: The session ended.
            ConfigurationError: An input or an option cannot be meant; nothing was sent. Likewise
                ``AudioFormatError`` and ``AudioFileError``.
        """
        wait = Wait(timeout, cancel)
        content = contents.Message(inputs, image, image_detail, rate)
        return self._exchange(content, conversation, wait, options).answer()

    def ask_stream(
        self,
        *inputs: Input,
        image: Image | Sequence[Image] | None = None,
        image_detail: Literal["auto", "low", "high"] = "auto",
        rate: int = pcm.SAMPLE_RATE,
        conversation: Literal["auto", "none"] = "auto",
        timeout: float | None = 120.0,
        cancel: threading.Event | None = None,
        **options: Unpack[ResponseOptions],
    ) -> ReplyStream:
        """Ask, and get the answer as it comes; arguments and errors as in :meth:`ask`.

        ::

            for piece in session.ask_stream("Tell me a story."):
                if isinstance(piece, str):
                    print(piece, end="", flush=True)

        Returns:
            An iterator over ``str``, arrays of ``int16`` samples at 24 kHz, and at the end the :class:`Reply`.
        """
        from .reply_stream import ReplyStream  # noqa: PLC0415 - see the class

        wait = Wait(timeout, cancel)
        content = contents.Message(inputs, image, image_detail, rate)
        return cells.closed_on_interrupt(ReplyStream(self._exchange(content, conversation, wait, options), self))

    def _exchange(self, content: contents.Message, conversation: str, wait: Wait, options: ResponseOptions) -> Exchange:
        from .exchange import Exchange, Question  # noqa: PLC0415 - see the class

        history = self._engine.history
        if history.session_type == "transcription":
            raise ConfigurationError("a transcription session gives no answers: see client.transcribe()")
        if conversation not in ("auto", "none"):
            raise ConfigurationError(f'conversation must be "auto" or "none", not {conversation!r}')
        items = contents.user_items(content, history.input_format)
        question = Question(items=items, response=response_shape(options), out_of_band=conversation == "none")
        return Exchange(self._engine, question, wait)

    def stream_audio(
        self,
        source: Path | pcm.AudioLike | Iterable[pcm.AudioLike],
        *,
        rate: int = pcm.SAMPLE_RATE,
        realtime: bool = True,
        chunk: float = 0.1,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        timeout: float | None = 30.0,
    ) -> float:
        """Feed audio into the input buffer as a microphone would; commits nothing and asks nothing.

        Args:
            source: A file, samples, or an iterator over pieces of samples; all are converted to the session's input
                format.
            rate: Samples per second of what is no file.
            realtime: Whether to send at the pace of real time, by the clock, so that no drift builds up; a delay is
                made up for. Else as fast as the line takes it.
            chunk: Seconds of audio per event, at most.
            progress: Called after each event with the seconds sent, and the seconds in all or ``None``.
            cancel: Ends it with ``Cancelled`` when it is set.
            timeout: Seconds for each event to go out, as in :meth:`send_audio`.

        Returns:
            The seconds of audio that were sent.

        Raises:
            AudioFormatError: It is no audio; likewise ``AudioFileError``. What came before it has been sent.
            MeshAPIError: As in :meth:`send_audio`.
        """
        from .pacing import stream_audio  # noqa: PLC0415 - see the class

        return stream_audio(
            self._engine,
            source,
            rate=rate,
            realtime=realtime,
            chunk=chunk,
            progress=progress,
            cancel=cancel,
            timeout=timeout,
        )
