"""A plain client that knows nothing of the protocol, and signals to speak into it."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from meshapi_rt.local import LocalServer

MODEL = "openai/gpt-realtime-mini"
PATIENCE = 10.0  # seconds that a test waits for an event


class Plain:
    """One connection: JSON out, JSON in; every event received is kept in :attr:`events`."""

    def __init__(self, server: LocalServer, query: str = f"model={MODEL}", **options: Any) -> None:
        url = server.url.replace("http", "ws", 1) + f"/v1/realtime?{query}"
        options.setdefault("additional_headers", {"Authorization": "Bearer local-token"})
        options.setdefault("max_size", None)
        options.setdefault("close_timeout", 2)
        options.setdefault("max_queue", 1_000_000)  # a queue that is full does not see the close
        self._stack = contextlib.ExitStack()
        self.ws = self._stack.enter_context(connect(url, **options))
        self.events: list[dict[str, Any]] = []
        self.audio_frames: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def send(self, event_type: str, **fields: Any) -> None:
        """Send a client event."""
        self.ws.send(json.dumps({"type": event_type, **fields}))

    def recv(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """Receive the next event; binary frames are kept aside."""
        while True:
            frame = self.ws.recv(timeout=timeout)
            if isinstance(frame, str):
                break
            self.audio_frames.append(frame)
        event: dict[str, Any] = json.loads(frame)
        self.events.append(event)
        return event

    def expect(self, event_type: str) -> dict[str, Any]:
        """Receive the next event, which must be of that type."""
        event = self.recv()
        assert event["type"] == event_type, event
        return event

    def until(self, event_type: str, **fields: Any) -> list[dict[str, Any]]:
        """Receive until an event of that type and those fields; return all, it included."""
        found = []
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found.append(self.recv())
            event = found[-1]
            if event["type"] == event_type and all(event.get(key) == value for key, value in fields.items()):
                return found
        raise AssertionError(f"no {event_type} in {types_of(found)}")

    def rest(self) -> tuple[list[dict[str, Any]], int | None]:
        """Receive until the connection is closed; return the events and the close code."""
        found = []
        try:
            while True:
                found.append(self.recv())
        except ConnectionClosed as exc:
            return found, exc.rcvd.code if exc.rcvd else None

    def quiet(self) -> None:
        """Assert that the server has nothing more to say: the answer to a question comes next."""
        self.send("input_audio_buffer.clear")
        self.expect("input_audio_buffer.cleared")

    # -- shorthands --------------------------------------------------------------------------------------

    def update(self, **session: Any) -> dict[str, Any]:
        """Update the session; return what it is now."""
        self.send("session.update", session={"type": "realtime", **session})
        session_updated: dict[str, Any] = self.expect("session.updated")["session"]
        return session_updated

    def manual(self, **session: Any) -> None:
        """Open with turn detection off."""
        self.expect("session.created")
        self.update(audio={"input": {"turn_detection": None}}, **session)

    def append(self, samples: NDArray[np.int16] | bytes, *, chunk: int = 4800) -> None:
        """Append audio in chunks of bytes."""
        data = samples if isinstance(samples, bytes) else samples.tobytes()
        for at in range(0, len(data), chunk):
            self.send("input_audio_buffer.append", audio=encode(data[at : at + chunk]))

    def say(self, text: str, **fields: Any) -> str:
        """Create a user item; return its id."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        self.send("conversation.item.create", item={**item, **fields})
        self.expect("conversation.item.added")
        return str(self.expect("conversation.item.done")["item"]["id"])

    def respond(self, **response: Any) -> list[dict[str, Any]]:
        """Have a response made; return its events up to ``rate_limits.updated``."""
        self.send("response.create", **({"response": response} if response else {}))
        return self.until("rate_limits.updated")

    def refused(self, event_type: str, **fields: Any) -> Mapping[str, Any]:
        """Send an event that is refused in-band; return the error."""
        self.send(event_type, event_id="evt_refused", **fields)
        error: Mapping[str, Any] = self.expect("error")["error"]
        assert error["event_id"] == "evt_refused"
        return error


def types_of(events: list[dict[str, Any]], *, once: bool = False) -> list[str]:
    """Name the events; *once* shows runs of deltas as one."""
    names = [str(event["type"]) for event in events]
    if not once:
        return names
    return [name for at, name in enumerate(names) if at == 0 or name != names[at - 1]]


def encode(data: bytes) -> str:
    """Encode as base64."""
    return base64.b64encode(data).decode("ascii")


def audio_of(events: list[dict[str, Any]]) -> bytes:
    """Join the audio deltas."""
    deltas = (event["delta"] for event in events if event["type"] == "response.output_audio.delta")
    return b"".join(base64.b64decode(delta) for delta in deltas)


def joined(events: list[dict[str, Any]], event_type: str) -> str:
    """Join the text of deltas."""
    return "".join(event["delta"] for event in events if event["type"] == event_type)


def last(events: list[dict[str, Any]], event_type: str) -> dict[str, Any]:
    """Return the last event of a type."""
    return next(event for event in reversed(events) if event["type"] == event_type)


def speech(seconds: float = 0.6, dbfs: float = -25.0, rate: int = 24000) -> NDArray[np.int16]:
    """Noise with a syllable's envelope, at a level of speech."""
    at = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(7).standard_normal(at.size) * (0.7 + 0.3 * np.sin(2 * np.pi * 4 * at))
    noise *= 32768 * 10 ** (dbfs / 20) / np.sqrt(np.mean(noise**2))
    samples: NDArray[np.int16] = np.clip(noise, -32768, 32767).astype("<i2")
    return samples


def silence(seconds: float, rate: int = 24000) -> NDArray[np.int16]:
    """Return silence."""
    return np.zeros(round(seconds * rate), "<i2")


def chunks_of(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Cut bytes into chunks of recurring sizes."""
    at = 0
    index = 0
    while at < len(data):
        size = sizes[index % len(sizes)]
        yield data[at : at + size]
        at, index = at + size, index + 1
