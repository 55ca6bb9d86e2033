"""The clients that are compared, each used as its own users would write it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import importlib
import itertools
import json
import os
import queue
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from . import wire
from .wire import Scenario

__all__ = ["CLIENTS", "Pieces", "Talk", "connect"]

_DELTA = "response.output_audio.delta"
_TOKEN = "rsk_benchmark"  # noqa: S105 - any token will do


class Pieces(Protocol):
    """What takes the audio of deltas, such as a list."""

    def append(self, audio: Any, /) -> None:
        """Take one."""


class Talk(Protocol):
    """One session of one client, after the server's hello."""

    def start(self) -> None:
        """Ask for a response."""

    def drain(self, pieces: Pieces) -> None:
        """Take messages until the response is done; put the audio of each, as bytes, into *pieces*."""

    def send_audio(self, audio: Any) -> None:
        """Append bytes or an int16 array to the server's input buffer."""

    def exchange(self) -> None:
        """Send a small event and take the answer."""

    def wait_for(self, kind: str) -> dict[str, Any]:
        """Take messages until one of a type."""

    def listen(self, heard: Callable[[str, int], None]) -> None:
        """Tell *heard* the event id and the bytes of audio of each delta, until the session ends."""

    def close(self) -> None:
        """End it."""


# One client serves every session of a process, and each process imports what it measures, and no more.


@functools.cache
def _ours(url: str) -> Any:
    return importlib.import_module("meshapi_rt").MeshAPI(_TOKEN, url)


@functools.cache
def _meshapi(url: str) -> Any:
    _trust_for_certifi()
    return importlib.import_module("meshapi").MeshAPI(base_url=url, token=_TOKEN)


@functools.cache
def _openai(url: str) -> Any:
    return importlib.import_module("openai").OpenAI(api_key=_TOKEN, base_url=f"{url}/v1")


class Ours:
    """meshapi_rt."""

    def __init__(self, url: str, scenario: Scenario, settings: dict[str, Any]) -> None:
        self._session = _ours(url).realtime.connect(model=scenario.model, **settings)
        self._session.receive()

    def start(self) -> None:
        self._session.send({"type": "response.create"})

    def drain(self, pieces: Pieces) -> None:
        for message in self._session.events():
            if message.audio is not None:
                pieces.append(message.audio)
            elif message.type == "response.done":
                break

    def send_audio(self, audio: Any) -> None:
        self._session.send_audio(audio)

    def exchange(self) -> None:
        self._session.send({"type": "input_audio_buffer.clear"})
        self._session.receive()

    def wait_for(self, kind: str) -> dict[str, Any]:
        return dict(self._session.wait_for(kind).event or {})

    def listen(self, heard: Callable[[str, int], None]) -> None:
        for message in self._session.events():
            if message.audio is not None:
                heard(message.get("event_id"), len(message.audio))

    def close(self) -> None:
        self._session.close()


class Meshapi:
    """The official ``meshapi``, synchronous."""

    def __init__(self, url: str, scenario: Scenario, _settings: dict[str, Any]) -> None:
        self._session = _meshapi(url).realtime.connect(model=scenario.model)
        self._session.receive()

    def start(self) -> None:
        self._session.send({"type": "response.create"})

    def drain(self, pieces: Pieces) -> None:
        for message in self._session:
            if message.audio is not None:
                pieces.append(message.audio)
            elif message.event["type"] == "response.done":
                break

    def send_audio(self, audio: Any) -> None:
        self._session.send_audio(audio if isinstance(audio, bytes) else audio.tobytes())

    def exchange(self) -> None:
        self._session.send({"type": "input_audio_buffer.clear"})
        self._session.receive()

    def wait_for(self, kind: str) -> dict[str, Any]:
        while (event := self._session.receive().event)["type"] != kind:
            pass
        return dict(event)

    def listen(self, heard: Callable[[str, int], None]) -> None:
        for message in self._session:
            if message.audio is not None:
                heard(message.event["event_id"], len(message.audio))

    def close(self) -> None:
        self._session.close()


class OpenAI:
    """``openai``, synchronous."""

    def __init__(self, url: str, scenario: Scenario, _settings: dict[str, Any]) -> None:
        self._connection = _openai(url).realtime.connect(model=scenario.model).enter()
        self._connection.recv()

    def start(self) -> None:
        self._connection.response.create()

    def drain(self, pieces: Pieces) -> None:
        for event in self._connection:
            if event.type == _DELTA:
                pieces.append(base64.b64decode(event.delta))
            elif event.type == "response.done":
                break

    def send_audio(self, audio: Any) -> None:
        data = audio if isinstance(audio, bytes) else audio.tobytes()
        self._connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())

    def exchange(self) -> None:
        self._connection.input_audio_buffer.clear()
        self._connection.recv()

    def wait_for(self, kind: str) -> dict[str, Any]:
        while (event := json.loads(self._connection.recv_bytes()))["type"] != kind:
            pass
        return dict(event)

    def listen(self, heard: Callable[[str, int], None]) -> None:
        for event in self._connection:
            if event.type == _DELTA:
                heard(event.event_id, len(base64.b64decode(event.delta)))

    def close(self) -> None:
        self._connection.close()


class Naive:
    """A loop over websocket-client, as its documentation begins."""

    def __init__(self, url: str, scenario: Scenario, _settings: dict[str, Any]) -> None:
        ws = importlib.import_module("websocket").WebSocket()
        ws.connect(f"{url.replace('http', 'ws', 1)}/v1/realtime?model={scenario.model}")
        self._ws: Any = ws
        ws.recv()

    def start(self) -> None:
        self._ws.send(json.dumps({"type": "response.create"}))

    def drain(self, pieces: Pieces) -> None:
        while (event := json.loads(self._ws.recv()))["type"] != "response.done":
            if event["type"] == _DELTA:
                pieces.append(base64.b64decode(event["delta"]))

    def send_audio(self, audio: Any) -> None:
        data = audio if isinstance(audio, bytes) else audio.tobytes()
        event = {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}
        self._ws.send(json.dumps(event))

    def exchange(self) -> None:
        self._ws.send(json.dumps({"type": "input_audio_buffer.clear"}))
        json.loads(self._ws.recv())

    def wait_for(self, kind: str) -> dict[str, Any]:
        while (event := json.loads(self._ws.recv()))["type"] != kind:
            pass
        return dict(event)

    def listen(self, heard: Callable[[str, int], None]) -> None:
        while text := self._ws.recv():
            event = json.loads(text)
            if event["type"] == _DELTA:
                heard(event["event_id"], len(base64.b64decode(event["delta"])))

    def close(self) -> None:
        self._ws.close()


def _base64_of_bare() -> tuple[Callable[[bytes], bytes], Callable[[str], bytes]]:
    """Return what encodes and what decodes: of the standard library where ours is kept to it, too."""
    if os.environ.get("MESHAPI_RT_PURE"):
        strict = {"strict_mode": True} if sys.version_info >= (3, 11) else {}
        return functools.partial(binascii.b2a_base64, newline=False), functools.partial(binascii.a2b_base64, **strict)
    library = importlib.import_module("pybase64")
    return library.b64encode, functools.partial(library.b64decode, validate=True)


def _mask_of_bare() -> Callable[[bytes, bytes], bytes] | None:
    """Return what masks a whole payload, where ours may use it, too."""
    if os.environ.get("MESHAPI_RT_PURE"):
        return None
    mask: Callable[[bytes, bytes], bytes] = importlib.import_module("websockets.speedups").apply_mask
    return mask


class Bare:
    """The least that Python takes: one thread per session, no ids, no limits, no checks but of base64.

    What an SDK adds to that is the difference to this one; no reader, no hand-over, no timer, no lock is in it.
    """

    def __init__(self, url: str, scenario: Scenario, _settings: dict[str, Any]) -> None:
        self._sock = _upgraded(url, scenario)
        self._buffer = bytearray(256 * 1024)
        self._start = self._end = 0
        self._encode, self._decode = _base64_of_bare()
        keys = os.urandom(1024)
        self._words_of_keys = itertools.cycle(np.frombuffer(keys, np.uint32))
        self._keys = itertools.cycle(keys[at : at + 4] for at in range(0, 1024, 4))
        self._mask = _mask_of_bare()
        self._scratch = bytearray(64 * 1024)
        self._shaped = -1

    def start(self) -> None:
        self._send(b'{"type":"response.create"}')

    def drain(self, pieces: Pieces) -> None:
        while (audio := self._audio_of(self._text())) is not None:
            pieces.append(audio)

    def send_audio(self, audio: Any) -> None:
        self._send(b"".join((b'{"type":"input_audio_buffer.append","audio":"', self._encode(audio), b'"}')))

    def exchange(self) -> None:
        self._send(b'{"type":"input_audio_buffer.clear"}')
        self._text()

    def wait_for(self, kind: str) -> dict[str, Any]:
        while (event := json.loads(self._text()))["type"] != kind:
            pass
        return dict(event)

    def listen(self, heard: Callable[[str, int], None]) -> None:
        with contextlib.suppress(OSError):
            while (audio := self._audio_of(text := self._text())) is not None:
                heard(_event_id(text), len(audio))

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)

    def _audio_of(self, text: str) -> bytes | None:
        at = text.find('"delta":"')
        return None if at < 0 else self._decode(text[at + 9 : -2])

    def _text(self) -> str:
        buffer = self._buffer
        while True:
            start, have = self._start, self._end - self._start
            begin, length = start + 2, buffer[start + 1]
            if length == 126:
                begin, length = start + 4, buffer[start + 2] << 8 | buffer[start + 3]
            if have >= 4 and begin + length <= self._end:
                self._start = begin + length
                return str(memoryview(buffer)[begin : begin + length], "utf-8")
            self._fill()

    def _fill(self) -> None:
        if self._start:
            rest = self._buffer[self._start : self._end]
            self._buffer[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        got = self._sock.recv_into(memoryview(self._buffer)[self._end :])
        if not got:
            raise ConnectionError("the server left")
        self._end += got

    def _send(self, payload: bytes) -> None:
        if len(payload) != self._shaped:
            self._shape(len(payload))
        mask = self._mask
        if mask is not None:
            key = next(self._keys)
            self._sock.sendall(self._header + key + mask(payload, key))
            return
        key = next(self._words_of_keys)
        self._payload[:] = payload
        self._key[0] = key
        np.bitwise_xor(self._words, key, self._words)
        self._sock.sendall(self._frame)

    def _shape(self, length: int) -> None:
        head = wire.frame(bytes(length), key=b"****")[:-length].removesuffix(b"****")
        self._header = bytes(head)
        self._scratch[12 - len(head) : 12] = head
        view, words = memoryview(self._scratch), np.frombuffer(self._scratch, np.uint32)
        self._frame, self._payload = view[12 - len(head) : 16 + length], view[16 : 16 + length]
        self._key, self._words, self._shaped = words[3:4], words[4 : 4 + (length + 3) // 4], length


class Pumped(Bare):
    """The same with a thread that reads and decodes, and a queue: what the shape of our SDK costs at the least."""

    def __init__(self, url: str, scenario: Scenario, settings: dict[str, Any]) -> None:
        super().__init__(url, scenario, settings)
        self._messages: queue.SimpleQueue[tuple[str, bytes | None]] = queue.SimpleQueue()
        threading.Thread(target=self._pump, daemon=True).start()

    def drain(self, pieces: Pieces) -> None:
        while (audio := self._messages.get()[1]) is not None:
            pieces.append(audio)

    def exchange(self) -> None:
        self._send(b'{"type":"input_audio_buffer.clear"}')
        self._messages.get()

    def wait_for(self, kind: str) -> dict[str, Any]:
        while (event := json.loads(self._messages.get()[0]))["type"] != kind:
            pass
        return dict(event)

    def listen(self, heard: Callable[[str, int], None]) -> None:
        while (message := self._messages.get())[1] is not None:
            heard(_event_id(message[0]), len(message[1]))

    def _pump(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                text = self._text()
                self._messages.put((text, self._audio_of(text)))
        self._messages.put(("", None))


class Raw:
    """A socket that understands nothing: what the server, the kernel and TLS give at best."""

    def __init__(self, url: str, scenario: Scenario, _settings: dict[str, Any]) -> None:
        self._sock = _upgraded(url, scenario)
        self._scenario = scenario
        self._start = wire.frame(b'{"type":"response.create"}', key=os.urandom(4))
        self._appends = itertools.cycle(_appends(scenario.size) if scenario.kind == "collect" else [])

    def start(self) -> None:
        self._sock.sendall(self._start)

    def drain(self, pieces: Pieces) -> None:
        del pieces  # it decodes nothing
        size, count = self._scenario.size, self._scenario.number
        left = count * len(wire.frame(wire.delta_event(bytes(size), 0))) + len(wire.frame(wire.DONE))
        buffer = memoryview(bytearray(512 * 1024))
        while left:
            left -= self._sock.recv_into(buffer[: min(left, len(buffer))])

    def send_audio(self, audio: Any) -> None:
        del audio  # it has prepared its frames
        self._sock.sendall(next(self._appends))

    def exchange(self) -> None:
        self._sock.sendall(self._start)
        self._read_frame()

    def wait_for(self, kind: str) -> dict[str, Any]:
        while (event := json.loads(self._read_frame()))["type"] != kind:
            pass
        return dict(event)

    def _read_frame(self) -> bytes:
        length = self._sock.recv(2, socket.MSG_WAITALL)[1]
        if length == 126:
            length = int.from_bytes(self._sock.recv(2, socket.MSG_WAITALL), "big")
        return self._sock.recv(length, socket.MSG_WAITALL)

    def listen(self, heard: Callable[[str, int], None]) -> None:
        raise NotImplementedError("a raw socket tells no deltas apart")

    def close(self) -> None:
        self._sock.close()


def _event_id(text: str) -> str:
    """Return the id at the beginning of an event of the server, such as ``{"event_id":"event_1",``."""
    return text[13 : text.index('"', 13)]


def _upgraded(url: str, scenario: Scenario) -> socket.socket:
    """Return a blocking socket on which the server has said hello."""
    where = urlsplit(url)
    sock = socket.create_connection((where.hostname, where.port or 80))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if where.scheme == "https":
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=where.hostname)
    lines = [f"GET /v1/realtime?model={scenario.model} HTTP/1.1", f"Host: {where.netloc}", "Connection: Upgrade"]
    lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    hello = wire.frame(wire.HELLO)
    seen = b""
    while not seen.endswith(hello):
        seen += sock.recv(4096)
    return sock


def _appends(size: int) -> list[bytes]:
    audio = (base64.b64encode(wire.chunk(size, number)) for number in range(wire.DISTINCT))
    texts = [b'{"type":"input_audio_buffer.append","audio":"%b"}' % one for one in audio]
    return [wire.frame(text, key=os.urandom(4)) for text in texts]


def _trust_for_certifi() -> None:
    """Let certifi name the authority in SSL_CERT_FILE: ``meshapi`` asks it, not the environment."""
    authority = os.environ.get("SSL_CERT_FILE")
    if authority:
        try:
            certifi = importlib.import_module("certifi")
        except ImportError:
            return  # then it asks the environment
        certifi.where = lambda: authority  # type: ignore[attr-defined]


CLIENTS: dict[str, Callable[[str, Scenario, dict[str, Any]], Talk]] = {
    "ours": Ours,
    "meshapi": Meshapi,
    "openai": OpenAI,
    "naive": Naive,
    "bare": Bare,
    "pumped": Pumped,
    "raw": Raw,
}


def connect(name: str, url: str, scenario: Scenario, **settings: Any) -> Talk:
    """Open a session of the named client and take the server's hello; *settings* are for ours alone."""
    return CLIENTS[name](url, scenario, settings)
