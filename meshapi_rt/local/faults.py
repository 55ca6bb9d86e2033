"""What can go wrong, as a script: give it to ``LocalServer(faults=Faults(...))``, or to a running server.

::

    from meshapi_rt.local import Drop, Faults, LocalServer, Refuse

    with LocalServer(faults=Faults(Drop(on="response.created"), Refuse(503, connection=2))) as server:
        ...  # the first answer is cut off, the first attempt to come back is refused
        server.inject(Drop())  # now, every open session

==============================  ==========================================================================
fault                           example
==============================  ==========================================================================
end without a close frame       ``Drop(after=0.5)``
... in the middle of a frame    ``Drop(sent_bytes=300)``; ``Drop(sent_bytes=0)``: no handshake answer at all
reset by the network            ``Reset(on="response.output_audio.delta", nth=3)``
close frame                     ``Close(1012, "restart", received=4)``
terminal error                  ``Terminate("provider_error")``
... instead of a session        ``Terminate("model_not_found", first=2, times=2)``
... and no close frame          ``Faults(Terminate("idle_timeout", after=1), Drop(on="error"))``
draining                        ``Drain(after=1)``
refused handshake               ``Refuse(429, retry_after=2, code="rate_limit_exceeded", times=3)``
stalled line                    ``Stall(2.0, on="response.create")``; ``Stall()``: silent for ever
... deaf, or dumb               ``Stall(writing=False)``; ``Stall(reading=False)``
slow line                       ``Slow(bytes_per_second=2000)``; ``Slow(delay=0.05)`` before each frame
unknown event                   ``Send({"type": "response.output_smell.delta"}, on="response.created")``
... frames that are no event    ``Send("[]")``; ``Send(b"binary")``
unknown fields                  ``ExtraFields()``; ``ExtraFields({"mood": "good"}, on="session.created")``
missing event                   ``Skip(on="response.created")``: ``response.done`` without it
event out of order              ``Delay(on="conversation.item.added", until="conversation.item.done")``
late transcription              ``LateTranscription(0.5)``
transcriptions out of order     ``LateTranscription()``
late audio of a cancelled one   ``LateDeltas(3)``
error without the client's id   ``NoEcho()``; ``NoEcho("item_delete_invalid_item_id")``
lifetime and idle limits        no faults, but ``LocalServer(session_limit=5, idle_timeout=2)``
==============================  ==========================================================================

When they happen is told by :class:`Scripted`, on which connections and how often by :class:`Fault`. All of
them compose; those of the same moment happen in the order of the script. Each is told to the logger
``meshapi_rt`` at level info.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import attrs

from ..errors import ConfigurationError
from . import checks
from .triggers import Act, Fault, Scripted, Twist, WireAct

__all__ = [
    "Act",
    "Close",
    "Delay",
    "Drain",
    "Drop",
    "ExtraFields",
    "Fault",
    "Faults",
    "LateDeltas",
    "LateTranscription",
    "NoEcho",
    "Refuse",
    "Reset",
    "Scripted",
    "Send",
    "Skip",
    "Slow",
    "Stall",
    "Terminate",
    "Twist",
    "WireAct",
]


# -- the end of a connection ---------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class Drop(WireAct):
    """End the connection without a close frame (FIN). What was sent before still arrives.

    Behind a frame or an event it waits for a stall to end that has an end; at a time of its own, or injected, it
    does not, and what the stall held back is lost.
    """


@attrs.frozen(repr=False)
class Reset(WireAct):
    """Reset the connection (RST), as a network does that forgot about it. What the client has not read by then may
    be lost: systems differ in that.
    """


@attrs.frozen(repr=False)
class Close(Act):
    """Close with a frame of a code and a reason, without an error event.

    Attributes:
        code: Any, also one that the standard forbids; ``None``: an empty close frame.
    """

    code: int | None = attrs.field(default=1001, validator=checks.close_code)
    reason: str = attrs.field(default="", validator=checks.close_reason)


@attrs.frozen(repr=False)
class Terminate(Act):
    """End the session with an error in the gateway's envelope, then a close frame (protocol.md 1.7, 1.8).

    Attributes:
        code: The ``error.code``.
        message: The ``error.message``.
        close_code: ``None``: the one that this server has for the code, else 1011.
    """

    code: str = attrs.field(validator=checks.text)
    message: str = attrs.field(default="A fault of the local server, as its script demands.", validator=checks.text)
    close_code: int | None = attrs.field(default=None, validator=checks.close_code)


@attrs.frozen(repr=False)
class Drain(Act):
    """End the session as a gateway does that is being replaced: ``service_draining``, then a close."""


@attrs.frozen(repr=False)
class Refuse(Fault):
    """Answer the handshake with an HTTP status; whatever else is wrong with the request does not matter.

    Attributes:
        status: Any from 200 to 599: also proxies and captive portals answer.
        retry_after: Seconds or a date, for ``Retry-After``.
        code: Makes the body the gateway's error envelope, with this ``error.code``.
        body: The body, where there is no code; ``None``: the name of the status.
        headers: More headers, or others.
    """

    status: int = attrs.field(default=503, validator=checks.status)
    retry_after: str | None = attrs.field(
        default=None, converter=checks.retry_after, validator=checks.text, kw_only=True
    )
    code: str | None = attrs.field(default=None, validator=checks.text, kw_only=True)
    body: str | None = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict, validator=checks.headers, kw_only=True)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.code is not None and self.body is not None:
            raise ConfigurationError("Refuse: the code makes the body; give one of them")


# -- the line ------------------------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class Stall(WireAct):
    """Stop reading, writing, or both; the socket stays open. Pings are not answered either.

    A session that stalls for ever ends at its limits, by another fault, or with the server: nobody reads that the
    client has gone.

    Attributes:
        seconds: How long; ``None``: for ever. What was held back then arrives.
        reading: Stop reading: the client's sends fill up.
        writing: Stop writing.
    """

    seconds: float | None = attrs.field(default=None, validator=checks.seconds)
    reading: bool = attrs.field(default=True, validator=checks.flag, kw_only=True)
    writing: bool = attrs.field(default=True, validator=checks.flag, kw_only=True)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not self.reading and not self.writing:
            raise ConfigurationError("Stall: with reading and writing off, nothing is stalled")


@attrs.frozen(kw_only=True, repr=False)
class Slow(Act):
    """Send slowly; once on each connection. Of several, the lowest rate and the longest delay count.

    Attributes:
        bytes_per_second: What the line takes, frames' headers included.
        delay: Seconds before each frame.
        seconds: How long; ``None``: for ever.
    """

    bytes_per_second: float | None = attrs.field(default=None, validator=checks.rate)
    delay: float | None = attrs.field(default=None, validator=checks.seconds)
    seconds: float | None = attrs.field(default=None, validator=checks.seconds)
    times: int | None = attrs.field(default=None, validator=checks.optional_count(1))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.bytes_per_second is None and self.delay is None:
            raise ConfigurationError("Slow: needs bytes_per_second, delay or both")


# -- the events ----------------------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class Send(Act):
    """Send a frame of your own.

    Attributes:
        frame: An event, which is given an ``event_id`` where it has none; or the text or the bytes of a frame.
    """

    frame: Mapping[str, Any] | str | bytes = attrs.field(validator=checks.frame)


@attrs.frozen(repr=False)
class ExtraFields(Twist):
    """Add fields to events.

    Attributes:
        fields: Their names and values; ``None``: those that the live service was seen to send beside the schema,
            ``obfuscation`` on deltas of text and ``phase`` on output items, and invented ones everywhere.
    """

    fields: Mapping[str, Any] | None = attrs.field(default=None, validator=checks.fields)


@attrs.frozen(repr=False)
class Skip(Twist):
    """Do not send the events that ``on`` names. ``Skip(on="response.created")`` leaves a ``response.done`` that
    nothing announced, as the live service does around interruptions (protocol.md 4.8).
    """

    _needs: ClassVar[tuple[str, ...]] = ("on",)


@attrs.frozen(repr=False)
class Delay(Twist):
    """Hold the events that ``on`` names back; others overtake them.

    Attributes:
        seconds: How long.
        until: Or: until the next event of this type has been sent.
    """

    seconds: float | None = attrs.field(default=None, validator=checks.seconds)
    until: str | None = attrs.field(default=None, validator=checks.text, kw_only=True)

    _needs: ClassVar[tuple[str, ...]] = ("on",)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if (self.seconds is None) == (self.until is None):
            raise ConfigurationError(f"{self!r}: takes seconds or until")


@attrs.frozen(repr=False)
class LateTranscription(Twist):
    """Tell late what the user said: all transcription events of an item, together; ``times`` counts items.

    Attributes:
        seconds: How late; ``None``: after the transcription of a later item, so that they come out of order.
    """

    seconds: float | None = attrs.field(default=None, validator=checks.seconds)

    _lacks: ClassVar[tuple[str, ...]] = ("on",)


@attrs.frozen(repr=False)
class LateDeltas(Twist):
    """Send audio of a cancelled response after its ``response.done``, where it had audio (protocol.md 4.8).

    Attributes:
        count: How many deltas; ``times`` counts responses.
        seconds: How late; 0: right behind.
    """

    count: int = attrs.field(default=2, validator=checks.count(1))
    seconds: float = attrs.field(default=0.0, validator=checks.seconds, kw_only=True)

    _lacks: ClassVar[tuple[str, ...]] = ("on",)


@attrs.frozen(repr=False)
class NoEcho(Twist):
    """Leave the client's ``event_id`` out of in-band errors (protocol.md 1.9).

    Attributes:
        code: Only of errors with this code; ``None``: of all.
    """

    code: str | None = attrs.field(default=None, validator=checks.text)

    _lacks: ClassVar[tuple[str, ...]] = ("on",)


def injectable(fault: Fault) -> Fault:
    """Check what is to happen in sessions that are open.

    Raises:
        ConfigurationError: It cannot.
    """
    Faults(fault)
    if isinstance(fault, WireAct) and fault.sent_bytes is not None:
        raise ConfigurationError(f"{fault!r}: sent_bytes counts from the handshake; give it to LocalServer(faults=...)")
    return fault


# -- the script ----------------------------------------------------------------------------------------------


@attrs.frozen(init=False, repr=False)
class Faults:
    """The script of a server: any number of faults.

    >>> Faults(Drop(after=3), Refuse(503, times=2))
    Faults(Drop(after=3), Refuse(times=2))
    """

    faults: tuple[Fault, ...]

    def __init__(self, *faults: Fault) -> None:
        for fault in faults:
            if not isinstance(fault, Fault) or type(fault) in (Fault, Scripted, Act, WireAct, Twist):
                raise ConfigurationError(f"Faults takes faults such as Drop(after=3), not {fault!r}")
        self.__attrs_init__(faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __repr__(self) -> str:
        return f"Faults({', '.join(map(repr, self.faults))})"
