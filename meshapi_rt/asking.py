"""``ask`` and its kin: the blocking way to talk to a model."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import contents, pcm
from .contents import Image, Input
from .drafts import Piece
from .engine import Engine
from .errors import ConfigurationError
from .exchange import Exchange, Question, answer
from .pacing import Progress, stream_audio
from .reply import Reply
from .shapes import ResponseOptions, response_shape
from .waiting import Wait

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Asking", "ReplyStream"]


class ReplyStream:
    """An answer as it comes: iterate over it. Made by ``session.ask_stream``.

    It yields text as it is written or said (``str``), audio (``int16`` samples at 24 kHz), and at the end the
    :class:`Reply`. The question goes out when the first piece is asked for. Leaving the loop early and closing it
    (``close()``, ``with``, or no reference left) cancels the reply.

    Threads:
        One thread at a time.
    """

    def __init__(self, exchange: Exchange, owner: object) -> None:
        self._exchange = exchange
        self._owner = owner  # the session: it must not be garbage while somebody listens

    @property
    def reply(self) -> Reply | None:
        """The whole reply, once it has been yielded."""
        return self._exchange.reply

    def close(self) -> None:
        """Cancel the reply if it has not ended. Any number of times."""
        self._exchange.close()

    def __enter__(self) -> ReplyStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Piece | Reply]:
        return self

    def __next__(self) -> Piece | Reply:
        piece = self._exchange.next()
        if piece is None:
            raise StopIteration
        return piece

    def __del__(self) -> None:
        if self._exchange.is_open:
            # On a thread of its own, started without a lock: garbage is collected on any thread, inside of any lock.
            with contextlib.suppress(RuntimeError):  # the interpreter is about to exit
                _thread.start_new_thread(self._exchange.close, ())


class Asking:
    """What can be asked: a part of the session's face."""

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
        return answer(self._exchange(content, conversation, wait, options))

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
        wait = Wait(timeout, cancel)
        content = contents.Message(inputs, image, image_detail, rate)
        return ReplyStream(self._exchange(content, conversation, wait, options), self)

    def _exchange(self, content: contents.Message, conversation: str, wait: Wait, options: ResponseOptions) -> Exchange:
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
