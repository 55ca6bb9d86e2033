"""``send`` and ``send_audio``: what goes on the wire, what is refused, and many threads at once."""

from __future__ import annotations

import array
import base64
import contextlib
import json
import threading
import types
import warnings
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import pytest

from meshapi_rt import AudioFormatError, ConnectionLost, EventError, MeshAPIError, RealtimeSession

from .clock import Stopwatch
from .conftest import client_of
from .peers import BINARY, CLOSE, LIMIT, TEXT, ClientFrame, Line, deaf, peer


class Recorder:
    """Say hello and keep every data frame of the client."""

    def __init__(self) -> None:
        self.frames: list[ClientFrame] = []

    def __call__(self, line: Line) -> None:
        line.greet()
        while True:
            got = line.read_frame()
            if got.opcode == CLOSE:
                line.send_frame(CLOSE, got.payload)
                return
            if got.opcode in (TEXT, BINARY):
                self.frames.append(got)

    @property
    def events(self) -> list[Any]:
        return [got.event for got in self.frames]


@contextlib.contextmanager
def recording(**settings: Any) -> Iterator[tuple[RealtimeSession, Recorder]]:
    """Yield a session and its recorder; everything sent is recorded when the block has ended."""
    recorder = Recorder()
    with peer(recorder) as running:
        with client_of(running).realtime.connect(model="m", **settings) as session:
            yield session, recorder


@attrs.frozen
class Part:
    type: str
    text: str


@attrs.frozen
class Create:
    item: Any
    type: str = "conversation.item.create"


def test_an_event_gets_an_id_and_is_not_changed() -> None:
    """The caller's object stays as it is; the id is returned."""
    event = {"type": "response.create"}
    with recording() as (session, recorder):
        ids = [session.send(event) for _ in range(3)]
        own = session.send({"type": "x", "event_id": "mine"})
        none = session.send({"type": "x", "event_id": None})
    assert event == {"type": "response.create"}
    assert own == "mine"
    assert len({*ids, none}) == 4
    assert [sent["event_id"] for sent in recorder.events] == [*ids, own, none]


def test_mappings_and_attrs_instances() -> None:
    """At the top and inside."""
    with recording() as (session, recorder):
        session.send(types.MappingProxyType({"type": "x", "a": types.MappingProxyType({"b": (1, 2)})}))
        session.send(Create(item={"type": "message", "role": "user", "content": [Part("input_text", "hällo 🎧")]}))
    first, second = recorder.events
    assert first["a"] == {"b": [1, 2]}
    assert second["item"]["content"] == [{"type": "input_text", "text": "hällo 🎧"}]


def loop() -> dict[str, Any]:
    event: dict[str, Any] = {"type": "x"}
    event["self"] = event
    return event


def deep() -> dict[str, Any]:
    event: dict[str, Any] = {"type": "x"}
    for _ in range(100_000):
        event = {"type": "x", "in": event}
    return event


@pytest.mark.parametrize(
    "event",
    [
        {"type": "x", "n": float("nan")},
        {"type": "x", "n": float("inf")},
        {"type": "x", "b": b"bytes"},
        {"type": "x", "a": np.zeros(3)},
        {"type": "x", "s": "\ud800"},
        {"type": "x", ("tuple",): 1},
        loop(),
        deep(),
        {"type": None},
        {"type": ""},
        {"type": 7},
        {},
        {"type": "x", "event_id": 7},
        "response.create",
        None,
        [("type", "x")],
        Part,
    ],
    ids=lambda event: repr(event)[:30] if not isinstance(event, dict) else f"dict{len(event)}",
)
def test_what_cannot_be_sent_is_refused_before_anything_is_sent(event: Any) -> None:
    """An EventError that says why; the session goes on."""
    with recording() as (session, recorder):
        with pytest.raises(EventError):
            session.send(event)
        session.send({"type": "x.after"})
    assert [sent["type"] for sent in recorder.events] == ["x.after"]


def test_the_beta_shape_warns_once_with_the_ga_spelling() -> None:
    """It is sent as given."""
    session_object = {"modalities": ["text"], "voice": "alloy"}
    with recording() as (session, recorder):
        with pytest.warns(UserWarning, match=r"output_modalities.*audio\.output\.voice") as caught:
            session.send({"type": "session.update", "session": session_object})
        assert '"type": "realtime"' in str(caught[0].message)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session.send({"type": "session.update", "session": session_object})
            session.send({"type": "session.update", "session": {"type": "realtime", "instructions": "x"}})
    assert [sent["session"] for sent in recorder.events][:2] == [session_object] * 2


def test_the_ga_shape_does_not_warn() -> None:
    """Warnings are errors in this suite."""
    with recording() as (session, _):
        session.send({"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"voice": "x"}}}})


# -- audio ---

SAMPLES = (np.arange(4800) * 7 % 65536 - 32768).astype(np.int16)
PCM = SAMPLES.astype("<i2").tobytes()


@pytest.mark.parametrize(
    "audio",
    [
        PCM,
        bytearray(PCM),
        memoryview(PCM),
        array.array("h", SAMPLES.tolist()),
        SAMPLES,
        SAMPLES.reshape(-1, 1),
        SAMPLES.astype(">i2"),
        np.repeat(SAMPLES, 2)[::2],
        (SAMPLES / 32768).astype(np.float32),
        SAMPLES / 32768,
    ],
    ids=lambda audio: f"{type(audio).__name__}",
)
def test_every_kind_of_audio_is_the_same_on_the_wire(audio: Any) -> None:
    """An append event with the samples as little-endian PCM16 in standard base64."""
    with recording() as (session, recorder):
        session.send_audio(audio)
    (event,) = recorder.events
    assert event["type"] == "input_audio_buffer.append"
    assert base64.b64decode(event["audio"], validate=True) == PCM
    assert event["event_id"]


def test_audio_is_cut_into_ten_seconds() -> None:
    """25 s make three events, and nothing is lost between them."""
    pcm = np.random.default_rng(1).integers(-32768, 32767, 25 * 24_000, np.int16)
    with recording() as (session, recorder):
        session.send_audio(pcm)
    pieces = [base64.b64decode(event["audio"]) for event in recorder.events]
    assert [len(piece) for piece in pieces] == [480_000, 480_000, 240_000]
    assert b"".join(pieces) == pcm.tobytes()


@pytest.mark.parametrize("audio", [b"", np.zeros(0, np.int16), np.zeros((0, 1), np.float32)])
def test_empty_audio_sends_nothing(audio: Any) -> None:
    """An empty append is refused by servers."""
    with recording() as (session, recorder):
        session.send_audio(audio)
    assert recorder.frames == []


@pytest.mark.parametrize(
    ("audio", "seen"),
    [
        (b"\0\0\0", "odd|3 bytes"),
        (np.zeros(4, np.int32), "int32"),
        (np.zeros(4, np.uint8), "uint8"),
        (np.zeros((4, 2), np.int16), "2 channels"),
        (np.array([0.0, float("nan")]), "nan"),
        (np.array([0.0, 1.5]), r"1\.5"),
        ("text", "str"),
        (None, "NoneType"),
        ([1, 2], "list"),
    ],
)
def test_wrong_audio_names_what_was_seen(audio: Any, seen: str) -> None:
    """And nothing is sent; the session goes on."""
    with recording() as (session, recorder):
        with pytest.raises(AudioFormatError, match=f"(?i){seen}"):
            session.send_audio(audio)
        session.send_audio(PCM)
    assert len(recorder.frames) == 1


def test_binary_audio_frames() -> None:
    """For servers that take them."""
    with recording(audio_frames="binary") as (session, recorder):
        session.send_audio(SAMPLES)
        session.send({"type": "x"})
    assert [got.opcode for got in recorder.frames] == [BINARY, TEXT]
    assert recorder.frames[0].payload == PCM


# -- many threads ---


def test_events_of_many_threads_arrive_whole_and_in_order_per_thread() -> None:
    """8 threads send 500 events each, of every size, while a 9th receives."""
    echo_count = 4000

    def script(line: Line) -> None:
        line.greet()
        for _ in range(echo_count):
            event = line.read_event()
            line.send({"type": "x.echo", "thread": event["thread"], "n": event["n"], "size": len(event["pad"])})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        got: list[Any] = []

        def receive() -> None:
            while len(got) < echo_count:
                message = session.receive(timeout=LIMIT)
                if message.event and message.type == "x.echo":
                    got.append(message.event)

        def send(thread: int) -> None:
            for n in range(500):
                session.send({"type": "x", "thread": thread, "n": n, "pad": "x" * (n * 37 % 3000)})

        threads = [threading.Thread(target=receive), *(threading.Thread(target=send, args=(t,)) for t in range(8))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * LIMIT)
            assert not thread.is_alive()

    for thread_number in range(8):
        mine = [event for event in got if event["thread"] == thread_number]
        assert [event["n"] for event in mine] == list(range(500))
        assert all(event["size"] == event["n"] * 37 % 3000 for event in mine)


def test_a_peer_that_does_not_read_cannot_hold_a_send() -> None:
    """It raises after its own timeout; after half a frame the connection is over, and says so."""
    with peer(deaf) as running:
        session = client_of(running).realtime.connect(model="m")
        with Stopwatch() as watch, pytest.raises(TimeoutError, match=r"0.3 s.*half a frame"):
            session.send({"type": "x", "pad": "x" * 20_000_000}, timeout=0.3)
        assert watch.took < 1.5
        with pytest.raises(ConnectionLost):
            list(session)
        with pytest.raises(MeshAPIError):
            session.send({"type": "x"})


def test_a_send_that_could_not_begin_leaves_the_session_open() -> None:
    """Nothing of it went out: another send was in progress."""
    with peer(deaf) as running:
        session = client_of(running).realtime.connect(model="m")
        errors: list[BaseException] = []

        def run() -> None:
            try:
                session.send({"type": "x", "pad": "x" * 50_000_000})
            except MeshAPIError as exc:
                errors.append(exc)

        blocked = threading.Thread(target=run, daemon=True)
        blocked.start()
        with pytest.raises(TimeoutError, match="still open"):
            for _ in range(100):  # the first ones may come before the blocked one
                session.send({"type": "y"}, timeout=0.1)
                blocked.join(0.05)
        assert not session.closed
        session.close()
        blocked.join(LIMIT)
        assert errors


def test_json_is_exactly_what_was_given() -> None:
    """Numbers, nesting and order survive."""
    event = {"type": "x", "z": [1, 2.5, -0.0, 1e300, 10**30, True, None, {"ä": "\u2028"}], "a": "", "event_id": "e"}
    with recording() as (session, recorder):
        session.send(event)
    assert recorder.events == [event]
    assert list(json.loads(recorder.frames[0].payload)) == list(event)
