"""``RealtimeConnectParams``: what a session is opened with, checked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from .errors import ConfigurationError
from .policy import ReconnectPolicy
from .waiting import seconds

if TYPE_CHECKING:
    import ssl

    from .tools.tool import Approve, Tool

__all__ = ["AUTHS", "CONNECT_SECONDS", "Auth", "RealtimeConnectParams"]

Auth = Literal["subprotocol", "query", "header"]
AUTHS = ("subprotocol", "query", "header")
CONNECT_SECONDS = 10.0
_MIB = 1024 * 1024


def _is_duration(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    seconds(attribute.name, value)


def _is_interval(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if seconds(attribute.name, value) == 0:
        raise ConfigurationError(f"{attribute.name} must be more than 0 seconds, or None for none")


def _is_size(_: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{attribute.name} must be a number of bytes, 1 or more; not {value!r}")


def _is_one_of(*allowed: object) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in allowed:
            told = ", ".join(repr(one) for one in allowed if one is not None)
            raise ConfigurationError(f"{attribute.name} must be one of {told}; not {value!r}")

    return check


def _is_kind(kind: type | tuple[type, ...], told: str) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and not isinstance(value, kind):
            raise ConfigurationError(f"{attribute.name} must be {told}, not {type(value).__name__}")

    return check


def _is_context(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        from ssl import SSLContext  # noqa: PLC0415 - whoever has one has paid for it

        _is_kind(SSLContext, "an ssl.SSLContext")(_, attribute, value)


def _is_model(_: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"model must be an id such as 'openai/gpt-realtime-mini', not {value!r}")


def _is_hook(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        raise ConfigurationError(f"{attribute.name} must be a function of one call, not {type(value).__name__}")


def _is_rounds(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{attribute.name} must be a whole number, 1 or more; not {value!r}")


_is_mapping = _is_kind(Mapping, "a mapping of strings")


@attrs.frozen(kw_only=True)
class RealtimeConnectParams:
    """What a session is opened with.

    Attributes:
        model: A model id; ``meshapi_rt.MODELS`` lists the known ones, others pass.
        auth: How the token is sent: ``"subprotocol"``, as the gateway prefers; ``"query"``; or ``"header"``
            (``Authorization: Bearer``), for compatible servers other than the gateway. ``None``: the client's.
        timeout: Seconds for everything until the first frame: names, TCP, proxy, TLS, handshake.
        cancel: Ends ``connect`` with ``Cancelled`` when it is set.
        wait: ``False`` returns after the handshake, before the first frame.
        headers: Further request headers.
        query: Further query parameters.
        ssl_context: For TLS; ``None``: the client's.
        proxy: An HTTP proxy's URL; ``None``: the client's, and else the environment's; ``False``: none.
        audio_frames: ``"base64"`` sends audio as ``input_audio_buffer.append`` events; ``"binary"`` as raw
            binary frames, which the gateway ignores but other servers take.
        max_message_size: Bytes; a larger message of the server ends the session.
        max_unread_bytes: Bytes of unread wire text; beyond it reading stops until messages are consumed.
        ping_interval: Seconds between pings; ``None`` for none.
        ping_timeout: Seconds of silence after a ping until the connection counts as lost; ``None`` for never.
        close_timeout: Seconds that ``close()`` takes at most.
        keepalive: Seconds without an event of this side after which a small one keeps the gateway from closing an
            idle session (it does after 60 s); ``None`` for never. Its answer is not shown.
        keepalive_for: Seconds after the caller's last send or receive until that stops, so that a forgotten session
            holds no slot; ``None`` for never. A call that waits for a message is receiving.
        reconnect: ``True`` or a :class:`ReconnectPolicy`: when the connection is lost or nears its end, another one
            is opened and the conversation restored on it, which a loop sees as one ``meshapi.reconnected`` message.
        keep_audio: Keep the audio of both sides by item, for ``session.conversation.audio()``, and so that a turn
            of the user without transcript can be restored too.
        max_kept_audio_bytes: Bytes of audio that are kept, both sides together; the oldest items go first.
        tools: Functions that the model may call, told to the server before anything else; see
            :meth:`RealtimeSession.tool`.
        approve: Decides on each call of a tool before it runs, on the call's thread: true lets it, false refuses,
            a text refuses with that reason for the model. ``None`` lets all run.
        tool_timeout: Seconds that a tool may take once it is approved; ``None`` for without limit.
        tool_rounds: How often in a row the answer to outputs of tools may call tools again.
    """

    model: str = attrs.field(validator=_is_model)
    auth: Auth | None = attrs.field(default=None, validator=_is_one_of(None, *AUTHS))
    timeout: float | None = attrs.field(default=CONNECT_SECONDS, validator=_is_duration)
    cancel: threading.Event | None = attrs.field(default=None, validator=_is_kind(threading.Event, "an Event"))
    wait: bool = True
    headers: Mapping[str, str] = attrs.field(factory=dict, validator=_is_mapping, repr=lambda given: repr(list(given)))
    query: Mapping[str, str] = attrs.field(factory=dict, validator=_is_mapping)
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, validator=_is_context)
    proxy: str | Literal[False] | None = attrs.field(default=None, repr=False)
    audio_frames: Literal["base64", "binary"] = attrs.field(default="base64", validator=_is_one_of("base64", "binary"))
    max_message_size: int = attrs.field(default=64 * _MIB, validator=_is_size)
    max_unread_bytes: int = attrs.field(default=64 * _MIB, validator=_is_size)
    ping_interval: float | None = attrs.field(default=20.0, validator=_is_interval)
    ping_timeout: float | None = attrs.field(default=20.0, validator=_is_interval)
    close_timeout: float = attrs.field(default=1.0, validator=_is_duration)
    keepalive: float | None = attrs.field(default=45.0, validator=_is_interval)
    keepalive_for: float | None = attrs.field(default=1800.0, validator=_is_duration)
    reconnect: bool | ReconnectPolicy = attrs.field(
        default=False, validator=_is_kind((bool, ReconnectPolicy), "True, False or a ReconnectPolicy")
    )

    keep_audio: bool = attrs.field(default=False, validator=_is_kind(bool, "True or False"))
    max_kept_audio_bytes: int = attrs.field(default=64 * _MIB, validator=_is_size)
    tools: Sequence[Callable[..., Any] | Tool] = attrs.field(default=(), validator=_is_kind((list, tuple), "a list"))
    approve: Approve | None = attrs.field(default=None, validator=_is_hook)
    tool_timeout: float | None = attrs.field(default=60.0, validator=_is_duration)
    tool_rounds: int = attrs.field(default=8, validator=_is_rounds)

    @property
    def reconnect_policy(self) -> ReconnectPolicy | None:
        """The policy that ``reconnect`` stands for."""
        if isinstance(self.reconnect, ReconnectPolicy):
            return self.reconnect
        return ReconnectPolicy() if self.reconnect else None
