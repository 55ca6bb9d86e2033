"""Every client event through its method, against the local server."""

from __future__ import annotations

import base64
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshapi_rt import (
    AudioFormatError,
    ConfigurationError,
    RealtimeError,
    RealtimeSession,
    SessionClosed,
    TimedOut,
    audio_files,
    pcm,
)
from meshapi_rt.local import Delay, Faults, LocalServer, NoEcho, Stall

from .conftest import client_of
from .local.validation import assert_valid_client_events
from .peers import LIMIT, Line, peer, plain, silent

TONE = (8000 * np.sin(np.arange(24_000) * 0.1)).astype(np.int16)


def png() -> bytes:
    """Return a picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server; what its client sent is held against the typed models."""
    with LocalServer(record=True) as running:
        yield running
    assert_valid_client_events(r.event for r in running.transcript if r.sender == "client" and r.event)


@pytest.fixture
def session(server: LocalServer) -> Iterator[RealtimeSession]:
    """A session whose first message has been read."""
    with server.client().realtime.connect(model="m") as opened:
        opened.receive(timeout=LIMIT)
        yield opened


def test_update_returns_what_is_in_force(session: RealtimeSession) -> None:
    """The whole of it, also what was not touched; nothing is left for the main stream."""
    settings = session.update(instructions="be brief", turn_detection=None, output_modalities="text")

    assert settings["instructions"] == "be brief"
    assert settings["audio"]["input"]["turn_detection"] is None
    assert settings["audio"]["output"]["voice"] == "alloy"
    assert settings == session.settings
    assert session.update() == settings
    assert session.stats.unread_messages == 0


def test_a_refused_update_names_the_field_and_changes_nothing(session: RealtimeSession) -> None:
    """At once, as an exception, and nowhere else."""
    with pytest.raises(RealtimeError) as caught:
        session.update(instructions="new", speed=9.0)

    assert caught.value.param == "session.audio.output.speed"
    assert session.settings["instructions"] != "new"
    assert session.stats.unread_messages == 0


def test_update_without_waiting(session: RealtimeSession) -> None:
    """The answer is the main stream's then."""
    assert session.update(instructions="later", wait=False, event_id="mine") == {}

    message = session.wait_for("session.updated", timeout=LIMIT)
    assert plain(message)["session"]["instructions"] == "later"


def test_a_transcription_session_is_updated_as_one() -> None:
    """Every update says the type of its session (protocol.md 3.2)."""
    query = {"intent": "transcription"}
    with LocalServer() as server, server.client().realtime.connect(model="m", query=query) as session:
        settings = session.update(transcription="gpt-4o-mini-transcribe", turn_detection="server_vad")
        assert settings["type"] == "transcription"
        assert settings["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe"}
        with pytest.raises(RealtimeError, match="instructions"):
            session.update(instructions="none here")


def test_items_are_created_retrieved_and_deleted(session: RealtimeSession) -> None:
    """Each answer is matched by the item's id; a name that the caller chose is kept."""
    items = session.conversation.item
    first = items.create({"id": "mine", "type": "message", "role": "user", "content": []})
    items.create_system_message("be nice", previous_item_id="root")
    items.create_assistant_message("yes?", previous_item_id="mine")
    said = items.create_user_message("a", TONE, image=png())

    assert first["id"] == "mine"
    assert [part["type"] for part in said["content"]] == ["input_text", "input_audio", "input_image"]
    audio = items.retrieve(said["id"])["content"][1]["audio"]
    assert np.array_equal(pcm.as_int16(base64.b64decode(audio)), TONE)
    items.delete("mine")
    with pytest.raises(RealtimeError) as caught:
        items.delete("mine")
    assert caught.value.code == "item_delete_invalid_item_id"
    assert session.stats.unread_messages == 0


def test_the_order_of_items_is_that_asked_for(server: LocalServer, session: RealtimeSession) -> None:
    """At the end, at the front, behind another one."""
    items = session.conversation.item
    items.create_user_message("b")
    last = items.create_user_message("d")
    items.create_user_message("a", previous_item_id="root")
    items.create_user_message("e", previous_item_id=last["id"], wait=False)
    items.delete(last["id"])
    assert [item.text for item in server.sessions[0].items] == ["a", "b", "e"]


def test_an_item_that_is_not_waited_for(session: RealtimeSession) -> None:
    """It has its id already, and its answers come with the other messages."""
    made = session.conversation.item.create_user_message("hi", wait=False)

    added = plain(session.wait_for("conversation.item.added", timeout=LIMIT))
    assert added["item"]["id"] == made["id"]
    assert session.receive(timeout=LIMIT).type == "conversation.item.done"


def test_the_output_of_a_function(server: LocalServer, session: RealtimeSession) -> None:
    """A string goes as it is, anything else as JSON."""
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_1"}
    session.conversation.item.create(call)

    session.conversation.item.create_function_output("call_1", {"degrees": 21})
    session.conversation.item.create_function_output("call_1", "warm")

    assert [item.output for item in server.sessions[0].items[1:]] == ['{"degrees": 21}', "warm"]
    with pytest.raises(ValueError, match="JSON"):
        session.conversation.item.create_function_output("call_1", object())


def test_audio_as_file_array_bytes_and_base64(server: LocalServer, session: RealtimeSession, tmp_path: Path) -> None:
    """All of them arrive as the same samples; a commit makes them one item."""
    audio_files.write(tmp_path / "tone.wav", TONE)
    buffer = session.input_audio_buffer
    session.update(turn_detection=None)

    buffer.append(TONE)
    buffer.append(tmp_path / "tone.wav")
    buffer.append(TONE.tobytes())
    buffer.append(pcm.to_float(TONE))
    buffer.append(base64.b64encode(TONE).decode())
    item_id = buffer.commit()

    (item,) = server.sessions[0].items
    assert item.id == item_id
    assert item.audio is not None
    assert np.array_equal(item.audio, np.tile(TONE, 5))
    with pytest.raises(RealtimeError, match="buffer too small"):
        buffer.commit()


def test_what_is_cleared_is_not_committed(session: RealtimeSession) -> None:
    """With an answer of its own."""
    session.update(turn_detection=None)
    session.input_audio_buffer.append(TONE)
    session.input_audio_buffer.clear()
    with pytest.raises(RealtimeError) as caught:
        session.input_audio_buffer.commit()
    assert caught.value.code == "input_audio_buffer_commit_empty"


def test_audio_is_converted_to_the_sessions_format(server: LocalServer, session: RealtimeSession) -> None:
    """PCM at 24 kHz or another rate goes as G.711 at 8 kHz into a session that takes that."""
    pytest.importorskip("soxr")
    session.update(turn_detection=None, input_format="pcmu")
    session.input_audio_buffer.append(TONE)
    session.input_audio_buffer.append(TONE[::3].copy(), rate=8000)
    session.input_audio_buffer.commit()
    session.conversation.item.create_user_message(TONE)

    lengths = [item.audio.size for item in server.sessions[0].items if item.audio is not None]
    assert lengths == [48_000, 24_000]


def test_a_response_is_created_and_cancelled(session: RealtimeSession) -> None:
    """Its beginning is the answer; everything after that comes with the other messages."""
    begun = session.response.create(wait=True, instructions="x", metadata={"topic": "a"})

    assert begun["metadata"]["topic"] == "a"
    done = plain(session.wait_for("response.done", timeout=LIMIT))
    assert done["response"]["id"] == begun["id"]
    with pytest.raises(RealtimeError) as caught:
        session.response.cancel(wait=True)
    assert caught.value.code == "response_cancel_not_active"


def test_a_cancel_waits_for_the_end() -> None:
    """And returns the response as it ended."""
    asked = threading.Event()

    def slow(turn: Any) -> Iterator[str]:
        yield "one "
        asked.set()
        turn.cancelled.wait(LIMIT)

    with LocalServer(responder=slow) as server, server.client().realtime.connect(model="m") as session:
        begun = session.response.create(wait=True)
        assert asked.wait(LIMIT)
        with pytest.raises(RealtimeError, match="active response"):
            session.response.create(wait=True)
        ended = session.response.cancel(begun["id"], wait=True)
        assert ended is not None
        assert ended["status"] == "cancelled"


def test_truncate_answers(session: RealtimeSession) -> None:
    """Or says what is wrong."""
    session.conversation.item.create_user_message("one two three")
    session.response.create()
    done = plain(session.wait_for("response.done", timeout=LIMIT))
    spoken = done["response"]["output"][0]["id"]

    session.conversation.item.truncate(spoken, 100)

    with pytest.raises(RealtimeError, match="already shorter"):
        session.conversation.item.truncate(spoken, 100_000)


# -- what goes wrong ---


def test_a_call_times_out_with_the_callers_number() -> None:
    """The session is still open after that."""
    with peer(silent) as running, client_of(running).realtime.connect(model="m") as session:
        for call in (
            lambda: session.update(timeout=0.1),
            lambda: session.input_audio_buffer.commit(timeout=0.1),
            lambda: session.conversation.item.retrieve("x", timeout=0.1),
        ):
            with pytest.raises(TimedOut, match=r"within 0\.1 s"):
                call()
        assert not session.closed


def test_a_call_ends_with_the_session() -> None:
    """Whoever ends it."""
    with peer(silent) as running:
        session = client_of(running).realtime.connect(model="m")
        closer = threading.Timer(0.1, session.close)
        closer.start()
        with pytest.raises(SessionClosed):
            session.update(timeout=LIMIT)
        closer.join()
        with pytest.raises(SessionClosed):
            session.conversation.item.delete("x")


def test_refusals_without_an_event_id_reach_their_call() -> None:
    """By what their code says they are about (protocol.md 1.9)."""
    with LocalServer(faults=Faults(NoEcho())) as server, server.client().realtime.connect(model="m") as session:
        for code, call in (
            ("item_delete_invalid_item_id", lambda: session.conversation.item.delete("x", timeout=LIMIT)),
            ("input_audio_buffer_commit_empty", lambda: session.input_audio_buffer.commit(timeout=LIMIT)),
            ("invalid_value", lambda: session.update(speed=7.0, timeout=LIMIT)),
            ("response_cancel_not_active", lambda: session.response.cancel(wait=True, timeout=LIMIT)),
        ):
            with pytest.raises(RealtimeError) as caught:
                call()
            assert caught.value.code == code
            assert caught.value.event_id is None


def test_answers_that_come_late_are_told_after_all() -> None:
    """A call that gave up leaves its answer to the main stream."""
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        server.inject(Stall(0.3))
        with pytest.raises(TimedOut):
            session.update(instructions="late", timeout=0.05)
        assert session.wait_for("session.updated", timeout=LIMIT)


def test_an_item_whose_done_overtakes_its_added() -> None:
    """Either of them is an answer."""
    late = Delay(until="conversation.item.done", on="conversation.item.added")
    with LocalServer(faults=Faults(late)) as server, server.client().realtime.connect(model="m") as session:
        assert session.conversation.item.create_user_message("x", timeout=LIMIT)["role"] == "user"


def test_inputs_that_are_none() -> None:
    """One sentence, and nothing is sent."""
    with LocalServer(record=True) as server, server.client().realtime.connect(model="m") as session:
        create = session.conversation.item.create_user_message
        with pytest.raises(ConfigurationError, match="needs an input"):
            create()
        with pytest.raises(AudioFormatError, match="list"):
            create([1, 2])  # type: ignore[arg-type]
        with pytest.raises(AudioFormatError, match="no samples"):
            create(b"")
        with pytest.raises(ConfigurationError, match="image="):
            create(Path("cat.png"))
        with pytest.raises(ConfigurationError, match="PNG nor JPEG"):
            create("look", image=b"GIF89a")
        with pytest.raises(ConfigurationError, match="cannot read the image"):
            create("look", image=Path("not there.png"))
        with pytest.raises(ConfigurationError, match="mapping"):
            session.conversation.item.create("hello")  # type: ignore[arg-type]
        assert not [record for record in server.transcript if record.sender == "client"]


def test_answers_are_matched_by_order_beside_raw_events() -> None:
    """A raw update before the call's own has its own answer (protocol.md 4.16)."""
    first = threading.Event()

    def script(line: Line) -> None:
        line.greet()
        got = [line.read_event()]
        first.set()
        got.append(line.read_event())
        for number, event in enumerate(got):
            line.send({"type": "session.updated", "session": {**event["session"], "n": number}})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        session.send({"type": "session.update", "session": {"type": "realtime"}})
        assert first.wait(LIMIT)
        assert session.update(timeout=LIMIT)["n"] == 1
        raw = plain(session.receive(timeout=LIMIT))
        assert raw["session"]["n"] == 0
