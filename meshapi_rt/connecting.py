"""From a client's settings and a call's parameters to an open session."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .decoding import Decoder, Wire
from .engine import Engine, Options
from .params import Auth, RealtimeConnectParams
from .secret import Secret
from .session import RealtimeSession
from .stats import Counters
from .transport.opening import open_connection
from .waiting import Wait

if TYPE_CHECKING:
    from .tools.tool import Tool

__all__ = ["open_session"]


def open_session(
    params: RealtimeConnectParams,
    *,
    url: str,
    secret: Secret,
    auth: Auth,
    headers: tuple[tuple[str, str], ...],
    context: ssl.SSLContext | None,
    proxy: str | Literal[False] | None,
    check: Callable[[], None],
) -> RealtimeSession:
    """Open a session, and let it open further connections the same way.

    Args:
        params: How the session is to behave.
        url: Of the endpoint, with its query.
        secret: The token.
        auth: How it travels.
        headers: For every request.
        context: For TLS; ``None`` without.
        proxy: As in ``MeshAPI``.
        check: Raises where no connection may be opened any more.

    Raises:
        ConnectError: There is no session; as in ``client.realtime.connect``.
    """
    tools = _made(params.tools)
    wait = Wait(params.timeout, params.cancel)
    counters = Counters()

    def reopen(wait: Wait) -> Wire:
        check()
        return open_connection(
            url,
            maker=Decoder(secret.redact),
            secret=secret,
            auth=auth,
            headers=headers,
            context=context,
            proxy=proxy,
            wait=wait,
            max_message_size=params.max_message_size,
            ping_interval=params.ping_interval,
            ping_timeout=params.ping_timeout,
            counters=counters,
        )

    engine = Engine(reopen=reopen, redact=secret.redact, counters=counters, options=_options(params))
    engine.open(wait, for_first_frame=params.wait)
    tooling = {"approve": params.approve, "timeout": params.tool_timeout, "rounds": params.tool_rounds}
    session = RealtimeSession(engine, model=str(params.model), close_timeout=params.close_timeout, tooling=tooling)
    if tools:
        try:
            session.tools.add(*tools)
        except BaseException:
            session.close()
            raise
    return session


def _options(params: RealtimeConnectParams) -> Options:
    return Options(
        max_unread_bytes=params.max_unread_bytes,
        binary_audio=params.audio_frames == "binary",
        keepalive=params.keepalive,
        keepalive_for=params.keepalive_for,
        policy=params.reconnect_policy,
        kept_audio_bytes=params.max_kept_audio_bytes if params.keep_audio else 0,
    )


def _made(tools: Sequence[Callable[..., Any] | Tool]) -> list[Tool]:
    """Make tools of functions before anything is opened."""
    if not tools:
        return []
    from .tools import Toolbox  # noqa: PLC0415 - only sessions with tools need it

    return list(Toolbox(tools))
