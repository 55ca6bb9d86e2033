"""When a scripted fault happens: what all faults have in common, checked when they are made."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from ..errors import ConfigurationError
from . import checks
from .schema import CLIENT_EVENTS

__all__ = ["Act", "Fault", "Scripted", "Twist", "WireAct"]

# protocol.md 2.2: the events that this server sends, and those that only others do.
_SERVER_EVENTS = """
session.created session.updated conversation.created error rate_limits.updated
conversation.item.added conversation.item.done conversation.item.retrieved conversation.item.truncated
conversation.item.deleted conversation.item.input_audio_transcription.delta
conversation.item.input_audio_transcription.segment conversation.item.input_audio_transcription.completed
conversation.item.input_audio_transcription.failed
input_audio_buffer.speech_started input_audio_buffer.speech_stopped input_audio_buffer.committed
input_audio_buffer.cleared input_audio_buffer.timeout_triggered
response.created response.done response.output_item.added response.output_item.done
response.content_part.added response.content_part.done response.output_text.delta response.output_text.done
response.output_audio.delta response.output_audio.done response.output_audio_transcript.delta
response.output_audio_transcript.done response.function_call_arguments.delta
response.function_call_arguments.done
""".split()  # noqa: SIM905 - as a list it would take a line for each
_KNOWN = (*_SERVER_EVENTS, *CLIENT_EVENTS)


def _event_type(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not value:
        checks.refuse(fault, attribute, value, 'takes the type of an event, such as "response.done"')
        return
    near = difflib.get_close_matches(value, _KNOWN, 1, 0.8)
    if near and value not in _KNOWN:  # others may be invented by Send
        checks.refuse(fault, attribute, value, f"is no event; perhaps {near[0]!r}?")
    if isinstance(fault, Twist) and value in CLIENT_EVENTS:
        checks.refuse(fault, attribute, value, "is sent by the client; this fault changes what the server sends")


@attrs.frozen(kw_only=True, repr=False)
class Fault:
    """Something that the server does wrong on purpose: :mod:`meshapi_rt.local.faults` has them all.

    Attributes:
        first: Only on the first so many connections.
        connection: Only on the connection of this number. They are counted from 1 as they ask for a session,
            refused ones too; a server that is started again counts anew.
        times: How often it happens, all connections together; ``None``: as often as it can.
    """

    first: int | None = attrs.field(default=None, validator=checks.optional_count(1))
    connection: int | None = attrs.field(default=None, validator=checks.optional_count(1))
    times: int | None = attrs.field(default=1, validator=checks.optional_count(1))

    def __attrs_post_init__(self) -> None:
        if self.first is not None and self.connection is not None:
            raise ConfigurationError(f"{self!r}: takes first or connection, not both")

    def __repr__(self) -> str:
        """Show what differs from the defaults; long values are cut."""
        shown = []
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if value not in (field.default, {}):
                shown.append(f"{field.name}={_show(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def concerns(self, number: int) -> bool:
        """Tell whether it may happen on the connection of that number."""
        return (self.first is None or number <= self.first) and self.connection in (None, number)


def _show(value: object) -> str:
    if isinstance(value, Mapping) and "type" in value:
        return f"<{value['type']}>"  # not the whole event: it may hold audio
    return reprlib.repr(value)


@attrs.frozen(kw_only=True, repr=False)
class Scripted(Fault):
    """A fault that waits for its moment: at most one of the first four; none is the very beginning.

    Attributes:
        after: Seconds since the connection was opened.
        sent: The server's frame of this number, counted from 1; it still goes out before.
        received: The client's frame of this number; it is handled after, if there still is a session.
        on: The type of an event: a server's still goes out before, a client's is handled after.
        nth: Which event of that type, counted from 1 on each connection.
    """

    after: float | None = attrs.field(default=None, validator=checks.seconds)
    sent: int | None = attrs.field(default=None, validator=checks.optional_count(1))
    received: int | None = attrs.field(default=None, validator=checks.optional_count(1))
    on: str | None = attrs.field(default=None, validator=_event_type)
    nth: int = attrs.field(default=1, validator=checks.count(1))

    _moments: ClassVar[tuple[str, ...]] = ("after", "sent", "received", "on")
    _needs: ClassVar[tuple[str, ...]] = ()  # what its class cannot do without
    _lacks: ClassVar[tuple[str, ...]] = ()  # what would mean nothing to its class

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        given = [name for name in self._moments if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigurationError(f"{self!r}: takes one of {', '.join(self._moments)}, not several")
        if self.nth != 1 and self.on is None:
            raise ConfigurationError(f"{self!r}: nth counts events of one type, which `on` names")
        for name in self._needs:
            if name not in given:
                raise ConfigurationError(f"{self!r}: needs `{name}`")
        for name in self._lacks:
            if name in given:
                raise ConfigurationError(f"{self!r}: takes no `{name}`")

    @property
    def immediate(self) -> bool:
        """It waits for nothing."""
        return all(getattr(self, name) is None for name in self._moments)


@attrs.frozen(kw_only=True, repr=False)
class Act(Scripted):
    """A fault that happens at a moment. With ``times`` it happens again whenever the moment has come or passed:
    ``on="response.done", nth=2, times=3`` means the second, third and fourth one.
    """


@attrs.frozen(kw_only=True, repr=False)
class WireAct(Act):
    """A fault that can also happen in the middle of a frame, or of the handshake.

    Attributes:
        sent_bytes: After so many bytes of the server, its handshake answer included; 0: instead of that.
    """

    sent_bytes: int | None = attrs.field(default=None, validator=checks.optional_count(0))

    _moments: ClassVar[tuple[str, ...]] = (*Act._moments, "sent_bytes")


@attrs.frozen(kw_only=True, repr=False)
class Twist(Scripted):
    """A fault in what the server sends, from its moment on: events are changed, held back or added.

    Attributes:
        on: Only events of this type, from the ``nth`` on.
        times: How many events it concerns, all connections together; ``None``: all.
    """

    times: int | None = attrs.field(default=None, validator=checks.optional_count(1))
