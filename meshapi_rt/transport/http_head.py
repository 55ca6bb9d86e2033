"""One HTTP request out, one bounded answer in, over a channel and under the caller's deadline."""

from __future__ import annotations

import contextlib
import http.client
import io
from collections.abc import Callable

import attrs

from ..errors import ConnectError, ConnectTimeout
from ..waiting import Wait
from .channel import Channel

__all__ = ["Response", "pause", "read_response"]

_HEAD_LIMIT = 64 * 1024  # bytes of status line and headers
_BODY_LIMIT = 64 * 1024  # bytes of an error's body that are read; more is not needed to tell it
_BODY_PATIENCE = 1.0  # seconds for an error's body: the status is known, so it must not eat the deadline


@attrs.frozen(kw_only=True, eq=False)
class Response:
    """An answer: for 101 and a tunnel's 2xx its head alone, else with (the beginning of) its body.

    What came is held in memoryviews here: a server may repeat the token, and a ``repr`` must not.

    Attributes:
        head: The status line and headers as they came, with the empty line.
        surplus: Bytes that came behind the head of a 101: the first frames.
    """

    status: int
    reason: str = attrs.field(repr=False)
    headers: http.client.HTTPMessage = attrs.field(repr=False)
    head: memoryview
    surplus: memoryview
    body: memoryview


def pause(step: str, wait: Wait) -> float:
    """Return how long to sleep before looking again.

    Raises:
        ConnectTimeout: The deadline has passed; *step* says during what.
        Cancelled: The caller's cancel event is set.
    """
    longest = wait.slice()
    if longest == 0:
        raise ConnectTimeout(f"no session within {wait.timeout:g} s: time ran out while {step}")
    return longest


def read_response(
    channel: Channel,
    request: memoryview,
    step: str,
    wait: Wait,
    *,
    tunnel: bool = False,
    redact: Callable[[str], str] = str,
) -> Response:
    """Send *request* and read the answer.

    Args:
        channel: Where to.
        request: The whole request; a memoryview, so that a traceback with local variables shows no secret.
        step: What is being waited for, in words, for the error.
        wait: The deadline and cancel event of ``connect``.
        tunnel: A 2xx answer has no body.
        redact: Takes secrets out of what an error shows of the answer.

    Raises:
        ConnectError: The answer is no HTTP, is too large, or the connection ended before it.
    """
    try:
        _write(channel, request, step, wait)
        head, rest = _read_head(channel, step, wait, redact)
        return _parse(channel, head, rest, wait.within(_BODY_PATIENCE), tunnel=tunnel, redact=redact)
    except ConnectError:
        raise
    except OSError as exc:
        raise ConnectError(f"the connection broke while {step} ({exc}): check the base URL, then try again") from exc


def _write(channel: Channel, request: memoryview, step: str, wait: Wait) -> None:
    write = channel.writer()
    while request:
        taken = 0
        with contextlib.suppress(BlockingIOError):
            taken = write(request)
        request = request[taken:]
        if not taken:
            channel.wait_to_write(pause(step, wait))


def _read_some(channel: Channel, step: str, wait: Wait) -> memoryview:
    buffer = memoryview(bytearray(16 * 1024))
    while True:
        got = channel.read_into(buffer)
        if got is not None:
            return buffer[:got]
        channel.reading.wait(pause(step, wait))


def _read_head(channel: Channel, step: str, wait: Wait, redact: Callable[[str], str]) -> tuple[memoryview, memoryview]:
    seen = memoryview(b"")
    while True:
        more = _read_some(channel, step, wait)
        if not more:
            raise ConnectError(
                f"the connection was closed while {step}, after {len(seen)} bytes of an answer: check that the "
                "base URL names a server of this protocol"
            )
        seen = memoryview(bytes(seen) + more)
        at = bytes(seen).find(b"\r\n\r\n")
        if at >= 0:
            return seen[: at + 4], seen[at + 4 :]
        if len(seen) > _HEAD_LIMIT or not b"HTTP/".startswith(seen[:5]):
            raise _no_http(seen, redact)


def _no_http(seen: memoryview, redact: Callable[[str], str]) -> ConnectError:
    shown = redact(bytes(seen).decode("latin-1"))[:40]
    return ConnectError(
        f"the server does not speak HTTP; its answer begins with {shown!r}: check scheme and port of the base URL"
    )


class _Rest(io.RawIOBase):
    """What follows the head of an error's answer, for ``http.client`` to take its body from."""

    def __init__(self, channel: Channel, start: memoryview, wait: Wait) -> None:
        self._channel = channel
        self._start = start
        self._wait = wait

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


def _parse(
    channel: Channel, head: memoryview, rest: memoryview, wait: Wait, *, tunnel: bool, redact: Callable[[str], str]
) -> Response:
    bare = bytes(head[8:12]) == b" 101" or (tunnel and bytes(head[9:10]) == b"2")
    stream = _Rest(channel, head if bare else memoryview(bytes(head) + rest), wait)
    answer = http.client.HTTPResponse(_Socket(stream), method="CONNECT" if tunnel else "GET")  # type: ignore[arg-type]
    try:
        answer.begin()
        body = memoryview(b"") if bare else _body(answer)
    except (http.client.HTTPException, ValueError, ConnectTimeout):
        raise _no_http(head, redact) from None
    finally:
        answer.close()  # as garbage it may be finalized behind its stream, and Python 3.13 prints that
    return Response(
        status=answer.status,
        reason=redact(answer.reason),
        headers=answer.headers,
        head=head,
        surplus=rest if bare else rest[:0],
        body=body,
    )


def _body(answer: http.client.HTTPResponse) -> memoryview:
    got = io.BytesIO()
    with contextlib.suppress(OSError, http.client.HTTPException):  # it may end early; the status is what counts
        while got.tell() < _BODY_LIMIT and got.write(answer.read1(_BODY_LIMIT - got.tell())):
            pass
    return memoryview(got.getvalue())
