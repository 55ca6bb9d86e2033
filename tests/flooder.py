"""A TLS server in a process of its own: sends audio without pause, checks every byte it gets, and reports.

One thread, non-blocking. It prints its port, serves one client until its close frame, and prints what it saw as JSON.
"""

from __future__ import annotations

import base64
import json
import random
import select
import socket
import ssl
import struct
import sys
import threading
from typing import Any

from .peers import CLOSE, TEXT, Line, frame

CHUNK = 4800  # bytes: 100 ms
PERIOD = 65_521
_pattern = random.Random(7).randbytes(PERIOD)
PATTERN = memoryview(_pattern + _pattern)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def expected(number: int, size: int = CHUNK) -> bytes:
    """Return the *number*-th piece of an endless stream."""
    at = number * size % PERIOD
    return bytes(PATTERN[at : at + size])


def chunk_of(sender: int, number: int) -> bytes:
    """Return what a sender of the client sends as its *number*-th chunk."""
    return struct.pack("<II", sender, number) + expected(number, CHUNK - 8)


class Flood:
    def __init__(self, line: Line) -> None:
        self.sock = line.sock
        self.received = bytearray()
        self.counts: dict[int, int] = {}
        self.sent = 0
        self.out = memoryview(b"")
        self.closing = False

    def run(self) -> dict[str, Any]:
        self.sock.setblocking(False)
        while not (self.closing and not self.out):
            moved = self.read()
            moved = self.write() or moved
            if not moved:
                select.select([self.sock], [self.sock] if self.out else [], [], 0.05)
        return {"sent": self.sent, "got": [self.counts.get(me, 0) for me in range(4)]}

    def read(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        assert data, "the client left without a close frame"
        self.received += data
        while self.take():
            pass
        return True

    def take(self) -> bool:
        data = self.received
        if len(data) < 4:
            return False
        width = {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
        length = int.from_bytes(data[2 : 2 + width], "big") if width else data[1] & 0x7F
        begin = 6 + width
        if len(data) < begin + length:
            return False
        key = bytes(data[begin - 4 : begin]) * (length // 4 + 1)
        mask = int.from_bytes(key[:length], "big")
        payload = (int.from_bytes(data[begin : begin + length], "big") ^ mask).to_bytes(length, "big")
        if data[0] & 0x0F == CLOSE:
            self.closing = True
            self.out = memoryview(bytes(self.out) + frame(CLOSE, payload))
        elif data[0] & 0x0F == TEXT:
            audio = base64.b64decode(json.loads(payload)["audio"])
            sender, number = struct.unpack_from("<II", audio)
            assert number == self.counts.get(sender, 0)
            assert audio == chunk_of(sender, number)
            self.counts[sender] = number + 1
        del data[: begin + length]
        return True

    def write(self) -> bool:
        if not self.out and not self.closing:
            self.out = memoryview(b"".join(self.message() for _ in range(10)))
        if not self.out:
            return False
        try:
            self.out = self.out[self.sock.send(self.out[:16384]) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    def message(self) -> bytes:
        audio = base64.b64encode(expected(self.sent))
        self.sent += 1
        return frame(TEXT, b'{"type":"response.output_audio.delta","delta":"%b"}' % audio)


def main(certificate: str, version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        sock, _ = listener.accept()
    with context.wrap_socket(sock, server_side=True) as secured:
        line = Line(secured, threading.Event())
        line.greet()
        print(json.dumps(Flood(line).run()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
