"""One HTTP request out, one bounded answer in, over a channel and under the caller's deadline."""

from __future__ import annotations

import http.client
import io

import attrs

from ..errors import ConnectError, ConnectTimeout
from ..waiting import Wait
from .channel import Channel

__all__ = ["Response", "pause", "read_response"]

_HEAD_LIMIT = 64 * 1024  # bytes of status line and headers
_BODY_LIMIT = 64 * 1024  # bytes of an error's body that are read; more is not needed to tell it
_BODY_PATIENCE = 1.0  # seconds for an error's body: the status is known, so it must not eat the deadline


@attrs.frozen(kw_only=True)
class Response:
    """An answer: for 101 and a tunnel's 2xx its head alone, else with (the beginning of) its body.

    Attributes:
        head: The status line and headers as they came, with the empty line.
        surplus: Bytes that came behind the head of a 101: the first frames.
    """

    status: int
    reason: str
    headers: http.client.HTTPMessage
    head: bytes
    surplus: bytes = b""
    body: bytes = b""


def pause(step: str, wait: Wait) -> float | None:
    """Return how long to sleep before looking again.

    Raises:
        ConnectTimeout: The deadline has passed; *step* says during what.
        Cancelled: The caller's cancel event is set.
    """
    longest = wait.slice()
    if longest == 0:
        raise ConnectTimeout(f"no session within {wait.timeout:g} s: time ran out while {step}")
    return longest


def read_response(channel: Channel, request: memoryview, step: str, wait: Wait, *, tunnel: bool = False) -> Response:
    """Send *request* and read the answer.

    Args:
        channel: Where to.
        request: The whole request; a memoryview, so that a traceback with local variables shows no secret.
        step: What is being waited for, in words, for the error.
        wait: The deadline and cancel event of ``connect``.
        tunnel: A 2xx answer has no body.

    Raises:
        ConnectError: The answer is no HTTP, is too large, or the connection ended before it.
    """
    try:
        _write(channel, request, step, wait)
        head, rest = _read_head(channel, step, wait)
        return _parse(channel, head, rest, wait, tunnel)
    except ConnectError:
        raise
    except OSError as exc:
        raise ConnectError(f"the connection broke while {step} ({exc}): check the base URL, then try again") from exc


def _write(channel: Channel, request: memoryview, step: str, wait: Wait) -> None:
    while request:
        taken = channel.write(request)
        request = request[taken:]
        if not taken:
            channel.wait_to_write(pause(step, wait))


def _read_some(channel: Channel, step: str, wait: Wait) -> bytes:
    buffer = bytearray(16 * 1024)
    while True:
        got = channel.read_into(memoryview(buffer))
        if got is not None:
            return bytes(buffer[:got])
        channel.wait_to_read(pause(step, wait))


def _read_head(channel: Channel, step: str, wait: Wait) -> tuple[bytes, bytes]:
    seen = bytearray()
    while True:
        more = _read_some(channel, step, wait)
        if not more:
            raise ConnectError(
                f"the connection was closed while {step}, after {len(seen)} bytes of an answer: check that the "
                "base URL names a server of this protocol"
            )
        look_from = max(0, len(seen) - 3)
        seen += more
        at = seen.find(b"\r\n\r\n", look_from)
        if at >= 0:
            return bytes(seen[: at + 4]), bytes(seen[at + 4 :])
        if len(seen) > _HEAD_LIMIT or not b"HTTP/".startswith(bytes(seen[:5])):
            raise _no_http(bytes(seen))


def _no_http(seen: bytes) -> ConnectError:
    shown = seen[:40].decode("latin-1")
    return ConnectError(
        f"the server does not speak HTTP; its answer begins with {shown!r}: check scheme and port of the base URL"
    )


class _Rest(io.RawIOBase):
    """What follows the head of an error's answer, for ``http.client`` to take its body from."""

    def __init__(self, channel: Channel, start: bytes) -> None:
        self._channel = channel
        self._start = start
        self._wait = Wait(_BODY_PATIENCE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._start:
            self._start = _read_some(self._channel, "reading an error's body", self._wait)
        count = min(len(buffer), len(self._start))
        buffer[:count] = self._start[:count]
        self._start = self._start[count:]
        return count


class _Socket:
    """The one thing that ``http.client`` wants of a socket."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._stream)


def _parse(channel: Channel, head: bytes, rest: bytes, wait: Wait, tunnel: bool) -> Response:
    bare = head.startswith((b"HTTP/1.1 101", b"HTTP/1.0 101")) or (tunnel and head[9:10] == b"2")
    stream = _Rest(channel, head if bare else head + rest)
    answer = http.client.HTTPResponse(_Socket(stream), method="CONNECT" if tunnel else "GET")  # type: ignore[arg-type]
    try:
        answer.begin()
        body = b"" if bare else _body(answer)
    except (http.client.HTTPException, ValueError) as exc:
        raise _no_http(head) from exc
    wait.slice()  # a cancel that came meanwhile
    return Response(
        status=answer.status,
        reason=answer.reason,
        headers=answer.headers,
        head=head,
        surplus=rest if bare else b"",
        body=body,
    )


def _body(answer: http.client.HTTPResponse) -> bytes:
    got = bytearray()
    try:
        while len(got) < _BODY_LIMIT and (more := answer.read1(_BODY_LIMIT - len(got))):
            got += more
    except (OSError, http.client.HTTPException):
        pass  # the status is what counts; the body may end early
    return bytes(got)
