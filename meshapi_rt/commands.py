"""One method for every client event, named as in openai-python where the thing is the same (protocol.md 2.1).

Waiting forms return what the server says, raise its error at once, and ``TimedOut`` when their time is up. The session
lives on after each of these. A connection that breaks meanwhile raises ``ConnectionLost``: whether the server did it
is not known then, and it is not asked again, though a session with ``reconnect`` goes on.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from . import contents, pcm
from .claims import Claim
from .engine import Engine
from .errors import ConfigurationError, TimedOut
from .ledger import tagged
from .shapes import ResponseOptions, response_shape
from .waiting import Wait
from .wire_format import format_named

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["InputAudioBuffer", "Responses", "call", "client_event", "inner"]


def call(engine: Engine, event: Mapping[str, Any], timeout: float | None) -> dict[str, Any]:
    """Send an event and wait for its answer.

    Raises:
        RealtimeError: The server refused it.
        TimedOut: It did not answer in time.
        MeshAPIError: The session, or its connection, ended first.
    """
    wait = Wait(timeout)
    with Claim(engine.claims) as claim:
        engine.sender.send(event, wait, claim)
        arrival = claim.next(wait)
    if arrival is None:
        raise TimedOut(
            f"the server did not answer {event['type']} within {wait.timeout:g} s; the session is still open, and what "
            "it may answer yet comes with the other messages"
        )
    if arrival.message.error is not None:
        raise arrival.message.error
    answer = arrival.message.outline
    assert answer is not None
    return answer


def client_event(kind: str, event_id: str | None, **fields: Any) -> dict[str, Any]:
    """Return a client event; fields that are ``None`` are left out."""
    given = {"event_id": event_id, **fields}
    return {"type": kind, **{name: value for name, value in given.items() if value is not None}}


def inner(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object inside of an event; an empty one where there is none."""
    found = event.get(name)
    return found if isinstance(found, dict) else {}


class InputAudioBuffer:
    """``session.input_audio_buffer``: the user's audio that is no item yet."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(
        self,
        audio: str | Path | pcm.AudioLike,
        *,
        rate: int = pcm.SAMPLE_RATE,
        event_id: str | None = None,
        timeout: float | None = 30.0,
    ) -> tuple[str, ...]:
        """Append audio. The server does not answer it.

        Args:
            audio: PCM16 bytes, an int16 or float array, or the ``Path`` of a file, all of which are converted to the
                session's input format; or base64 text, which goes as it is.
            rate: Samples per second of bytes and arrays.
            event_id: For base64 text, the id to send it with.
            timeout: Seconds to wait for a peer that reads slowly; ``None`` for without limit.

        Returns:
            The ids of the events that were sent.

        Raises:
            AudioFormatError: It is no audio. Nothing was sent.
            TimedOut: As in ``session.send``.
        """
        sender, kind = self._engine.sender, "input_audio_buffer.append"
        if isinstance(audio, str):
            return (sender.send(client_event(kind, event_id, audio=audio), timeout),)
        if event_id is not None:
            raise ConfigurationError("event_id goes with base64 text only: other audio may take several events")
        wire_format = self._engine.history.input_format
        if wire_format == "audio/pcm" and rate == pcm.SAMPLE_RATE and not isinstance(audio, os.PathLike):
            return sender.send_audio(audio, timeout)
        data = contents.wire_audio(audio, rate, wire_format)
        if wire_format == "audio/pcm":
            return sender.send_audio(data, timeout)
        wait, step = Wait(timeout), 10_000 * format_named(wire_format).bytes_per_ms
        return tuple(
            sender.send(client_event(kind, None, audio=base64.b64encode(data[start : start + step]).decode()), wait)
            for start in range(0, len(data), step)
        )

    def commit(self, *, event_id: str | None = None, wait: bool = True, timeout: float | None = 10.0) -> str | None:
        """Make what was appended an item of the user. No response follows by itself.

        Args:
            event_id: The id to send it with.
            wait: Whether to wait for the answer.
            timeout: Seconds for that.

        Returns:
            The id of the item; ``None`` without waiting.

        Raises:
            RealtimeError: There are less than 100 ms (protocol.md 1.5, O), for example because voice detection was
                quicker: ``input_audio_buffer_commit_empty``.
            TimedOut: No answer came in time.
        """
        event = client_event("input_audio_buffer.commit", event_id)
        if not wait:
            self._engine.sender.send(event, timeout)
            return None
        return cast("str | None", call(self._engine, event, timeout).get("item_id"))

    def clear(self, *, event_id: str | None = None, wait: bool = True, timeout: float | None = 10.0) -> None:
        """Drop what was appended and not committed; arguments and errors as in :meth:`commit`."""
        event = client_event("input_audio_buffer.clear", event_id)
        if wait:
            call(self._engine, event, timeout)
        else:
            self._engine.sender.send(event, timeout)


class Responses:
    """``session.response``: asks for responses and cancels them. They come with the other messages.

    ``session.ask`` does the same and collects the answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @overload
    def create(
        self,
        *,
        conversation: Literal["auto", "none"] = "auto",
        event_id: str | None = None,
        wait: Literal[False] = False,
        timeout: float | None = 10.0,
        **options: Unpack[ResponseOptions],
    ) -> None: ...

    @overload
    def create(
        self,
        *,
        conversation: Literal["auto", "none"] = "auto",
        event_id: str | None = None,
        wait: Literal[True],
        timeout: float | None = 10.0,
        **options: Unpack[ResponseOptions],
    ) -> dict[str, Any]: ...

    def create(
        self,
        *,
        conversation: Literal["auto", "none"] = "auto",
        event_id: str | None = None,
        wait: bool = False,
        timeout: float | None = 10.0,
        **options: Unpack[ResponseOptions],
    ) -> dict[str, Any] | None:
        """Ask for a response.

        Args:
            conversation: ``"none"`` for one that stays out of the conversation, of which several may run at once.
            event_id: The id to send it with.
            wait: Whether to wait until it begins; all that follows its beginning comes with the other messages.
            timeout: Seconds for that.
            **options: What is to differ from the session: see ``ResponseOptions``.

        Returns:
            The response that has begun (``id``, ``status``, ...); ``None`` without waiting.

        Raises:
            RealtimeError: The server refused it, for example since another one is running.
            TimedOut: It did not begin in time.
        """
        wanted = response_shape({**options, **({"conversation": "none"} if conversation == "none" else {})})
        if not wait:
            event = client_event("response.create", event_id, response=wanted or None)
            self._engine.sender.send(event, timeout)
            return None
        event_id = event_id or self._engine.next_id()
        event = client_event("response.create", event_id, response=tagged(wanted, event_id))
        answer = call(self._engine, event, timeout)
        return inner(answer, "response") or {"id": answer.get("response_id")}

    def cancel(
        self,
        response_id: str | None = None,
        *,
        event_id: str | None = None,
        wait: bool = False,
        timeout: float | None = 10.0,
    ) -> dict[str, Any] | None:
        """Cancel a response.

        Args:
            response_id: Which one; ``None`` for the one of the conversation.
            event_id: The id to send it with.
            wait: Whether to wait for its end.
            timeout: Seconds for that.

        Returns:
            The response as it ended; ``None`` without waiting.

        Raises:
            RealtimeError: ``response_cancel_not_active``: nothing was running. It may just have ended.
            TimedOut: It did not end in time.
        """
        event = client_event("response.cancel", event_id, response_id=response_id)
        if not wait:
            self._engine.sender.send(event, timeout)
            return None
        return inner(call(self._engine, event, timeout), "response")
