"""The upgrade from HTTP to WebSocket: websocket-client asks and checks the answer, over our channel.

The library sees neither the token nor a cookie. It writes a placeholder where the token belongs, and the token
takes its place on the way to the socket: so the library's trace, its exceptions and its local variables have
nothing to show. Its process-wide cookie jar is passed by in both directions.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import attrs
import websocket

from ..errors import ConnectError, ConnectRefused, RealtimeError, remedy
from ..secret import Secret
from ..waiting import Wait
from .channel import Channel
from .http_head import Response, read_response

__all__ = ["Upgrade", "upgrade"]

SUBPROTOCOL = "openai-realtime"


@attrs.frozen(kw_only=True, eq=False)
class Upgrade:
    """What to ask for.

    Attributes:
        url: The WebSocket URL, without the token.
        secret: The token.
        auth: Where the token goes: ``subprotocol``, ``query`` or ``header`` (protocol.md 1.2).
        headers: Further request headers.
    """

    url: str
    secret: Secret
    auth: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=lambda pairs: f"<{len(pairs)} headers>")

    def place(self, token: str) -> tuple[str, list[str]]:
        """Return the URL and the header lines, with *token* where the token belongs."""
        url, lines = self.url, [f"{name}: {value}" for name, value in self.headers]
        if self.auth == "header":
            lines.append(f"Authorization: Bearer {token}")
        elif self.auth == "query":
            url += f"{'&' if '?' in url else '?'}api_key={token}"
            lines.append(f"Sec-WebSocket-Protocol: {SUBPROTOCOL}")
        else:
            lines.append(f"Sec-WebSocket-Protocol: {SUBPROTOCOL}, Bearer {token}")
        return url, lines


class _Stream:
    """What websocket-client takes for a connected socket, during the handshake only."""

    def __init__(self, channel: Channel, ask: Upgrade, wait: Wait) -> None:
        self._channel = channel
        self._ask = ask
        self._wait = wait
        self._unread = b""
        self.placeholder = f"token-{secrets.token_hex(12)}"
        self.answer: Response | None = None
        self.failure: BaseException | None = None  # the library would turn some of ours into its own

    def send(self, request: bytes) -> int:
        """Send the library's request, whole, and read the answer to it."""
        try:
            self.answer = read_response(
                self._channel,
                self._filled_in(request),
                "waiting for the server's answer",
                self._wait,
                redact=self._ask.secret.redact,
            )
            if self.answer.status != 101:
                raise _refusal(self.answer, self._ask)
        except BaseException as exc:
            self.failure = exc
            raise
        head = self._ask.secret.redact(bytes(self.answer.head).decode("latin-1"))
        # Nothing that counts is beyond ASCII, and the library stumbles over what is no UTF-8.
        self._unread = re.sub(r"(?im)^set-cookie[ \t]*:.*\r\n", "", head).encode("ascii", "replace")
        return len(request)

    def _filled_in(self, request: bytes) -> memoryview:
        """Put the token in its place and leave out the library's cookies."""
        token = self._ask.secret.reveal()
        if self._ask.auth == "query":
            token = quote(token, safe="")
        lines = [line for line in request.split(b"\r\n") if not line.lower().startswith(b"cookie:")]
        mine = [f"{name}: {value}".encode() for name, value in self._ask.headers if name.lower() == "cookie"]
        lines[1:1] = mine
        return memoryview(b"\r\n".join(lines).replace(self.placeholder.encode(), token.encode()))

    def recv(self, size: int) -> bytes:
        """Give out the answer's head."""
        got, self._unread = self._unread[:size], self._unread[size:]
        return got

    def gettimeout(self) -> float:
        """Return 0: :meth:`recv` never has to wait."""
        return 0.0

    def close(self) -> None:
        """Leave the channel alone: its owner closes it."""


def upgrade(channel: Channel, ask: Upgrade, wait: Wait) -> bytes:
    """Open the WebSocket.

    Returns:
        The bytes that came behind the server's answer: its first frames.

    Raises:
        ConnectError: With the status, code and request id of the answer where there was one; a
            ``ConnectRefused`` where the server told an error code or an HTTP status that refuses the session.
        Cancelled: The caller's cancel event was set.
    """
    stream = _Stream(channel, ask, wait)
    url, lines = ask.place(stream.placeholder)
    asked = websocket.WebSocket(enable_multithread=False)
    try:
        asked.connect(  # type: ignore[no-untyped-call]
            url, socket=stream, header=lines, suppress_origin=True, redirect_limit=0, timeout=0
        )
    except BaseException as exc:
        if stream.failure is not None:
            raise stream.failure from stream.failure.__cause__
        if not isinstance(exc, (websocket.WebSocketException, ValueError, IndexError)):  # 1.8 lets the latter two out
            raise
        told = str(exc).replace(stream.placeholder, "***")
        raise ConnectError(
            f"the server's answer is no WebSocket handshake ({told}): check that the base URL names a server of "
            "this protocol, and any proxy in between",
            status=stream.answer.status if stream.answer else None,
        ) from None
    assert stream.answer is not None
    _check_subprotocol(stream.answer, ask)
    return bytes(stream.answer.surplus)


def _check_subprotocol(answer: Response, ask: Upgrade) -> None:
    chosen = ask.secret.redact((answer.headers.get("Sec-WebSocket-Protocol") or "").strip())
    if not chosen or (chosen == SUBPROTOCOL and ask.auth != "header"):
        return
    offered = "none was offered" if ask.auth == "header" else f"only {SUBPROTOCOL} was offered"
    raise ConnectError(
        f"the server chose the subprotocol {chosen!r}, but {offered}: check that the base URL "
        "names a server of this protocol",
        status=101,
    )


# -- refusals ---

_ADVICE = {
    400: "check the model, the query and the headers",
    401: "check the token (MESHAPI_TOKEN): it is missing, mistyped, revoked or suspended",
    402: "add credit to the account",
    403: "the token has no permission for this model or for realtime: check both",
    404: "check the base URL and the model: nothing answers at this path",
    407: "a proxy wants credentials: write them as http://user:password@host:port",
    426: "the server wants a WebSocket upgrade or TLS: check the base URL, and that no proxy strips the headers",
    429: "too many requests or sessions: close another session, or try again later",
}


def _refusal(answer: Response, ask: Upgrade) -> ConnectError:
    """Turn an HTTP answer other than 101 into the error that says what to do."""
    error, request_id = _envelope(answer, ask.secret)
    status = answer.status
    code = error.code if error else None
    if 300 <= status < 400:
        where = ask.secret.redact(answer.headers.get("Location", "an unnamed place"))
        return ConnectError(
            f"the server answered {status} and points to {where}: redirects are not followed; "
            "set the base URL to the right place",
            status=status,
            request_id=request_id,
        )
    if status < 300:
        return ConnectError(
            f"the server answered {status} instead of a WebSocket upgrade: check the base URL", status=status
        )
    retry_after = _retry_after(answer)
    told = f": {error.message.rstrip('.')}" if error and error.message else f" {answer.reason}".rstrip()
    return ConnectRefused(
        f"the server refused the session with {status}{f' {code}' if code else ''}{told}; "
        f"{_what_to_do(status, code, retry_after, ask)}",
        status=status,
        code=code,
        request_id=request_id,
        retry_after=retry_after,
        error=error,
    )


def _what_to_do(status: int, code: str | None, retry_after: float | None, ask: Upgrade) -> str:
    advice = remedy(code) or _ADVICE.get(status)
    if advice is None:
        advice = "try again later" if status >= 500 else "check the base URL and the model"
    if status == 400 and code is None and ask.auth == "subprotocol":
        advice = (
            'a server other than the gateway may not take a token as a subprotocol: try auth="header" or '
            f'auth="query"; else {advice}'
        )
    if retry_after is not None:
        advice += f", not before {retry_after:g} s have passed"
    return advice


def _envelope(answer: Response, secret: Secret) -> tuple[RealtimeError | None, str | None]:
    """Read the error out of a body of ``{"error": {...}}`` where it is one, and the request id of body or header."""

    def text(value: object) -> str | None:  # redacted here: before, JSON's own escapes may hide the token
        return secret.redact(value) if isinstance(value, str) and value else None

    request_id = text(answer.headers.get("X-Request-Id")) or text(answer.headers.get("Request-Id"))
    try:
        body: Any = json.loads(bytes(answer.body))
    except (ValueError, RecursionError):
        return None, request_id
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None, request_id
    request_id = text(body.get("request_id")) or text(error.get("request_id")) or request_id
    code, message = text(error.get("code")), text(error.get("message"))
    if not code and not message:
        return None, request_id
    found = RealtimeError(
        code,
        message or "",
        type=text(error.get("type")),
        param=text(error.get("param")),
        request_id=request_id,
    )
    return found, request_id


def _retry_after(answer: Response) -> float | None:
    """Read ``Retry-After``: seconds, or a date."""
    given = (answer.headers.get("Retry-After") or "").strip()
    try:
        value = (
            float(given)
            if not given or given[0].isdigit()
            else (parsedate_to_datetime(given).timestamp() - time.time())
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, value) if math.isfinite(value) else None
