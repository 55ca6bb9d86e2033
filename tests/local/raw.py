"""A handshake by hand over a bare socket, for what no library sends."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any

from typing_extensions import Self

from meshapi_rt.local import LocalServer

from .plain import MODEL, PATIENCE

__all__ = ["Raw"]

UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


class Raw:
    """One connection after one request; :attr:`status` and :attr:`headers` are the answer's."""

    def __init__(
        self,
        server: LocalServer,
        *lines: str,
        target: str = f"/v1/realtime?model={MODEL}",
        upgrade: bool = True,
    ) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        head = [f"GET {target} HTTP/1.1", "Host: localhost", *(UPGRADE if upgrade else ()), *lines]
        self.sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        self._stream = self.sock.makefile("rb")
        self.status = int(self._stream.readline().split()[1])
        self.headers: list[tuple[str, str]] = []
        while (line := self._stream.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            self.headers.append((name.lower(), value.strip()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self.sock.close()

    def header(self, name: str) -> str | None:
        """Return a header of the answer."""
        return dict(self.headers).get(name)

    def body(self) -> str:
        """Return the body of a refusal."""
        return self._stream.read(int(self.header("content-length") or 0)).decode()

    def frame(self) -> tuple[int, bytes]:
        """Read one unfragmented frame of the server: opcode and payload."""
        first, second = self._stream.read(2)
        length = second
        if length == 126:
            length = int.from_bytes(self._stream.read(2), "big")
        elif length == 127:
            length = int.from_bytes(self._stream.read(8), "big")
        return first & 0x0F, self._stream.read(length)

    def event(self) -> dict[str, Any]:
        """Read one event."""
        opcode, payload = self.frame()
        assert opcode == 1, (opcode, payload)
        event: dict[str, Any] = json.loads(payload)
        return event

    def close_code(self) -> int:
        """Read the close frame that must come next."""
        opcode, payload = self.frame()
        assert opcode == 8, (opcode, payload)
        return int.from_bytes(payload[:2], "big")
