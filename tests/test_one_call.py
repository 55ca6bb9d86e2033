"""client.ask, client.transcribe and session.stream_audio: one call for a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshapi_rt import (
    AudioFormatError,
    Cancelled,
    ConfigurationError,
    ConnectRefused,
    RealtimeError,
    TimedOut,
    audio_files,
    pcm,
)
from meshapi_rt.local import Faults, LateTranscription, LocalServer, Text, Turn

from .clock import Stopwatch
from .faces import QUESTION
from .peers import LIMIT
from .test_commands import TONE


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A parrot."""
    with LocalServer() as running:
        yield running


# -- ask ---


def test_one_line_for_a_script(server: LocalServer) -> None:
    """It opens a session, asks and closes."""
    reply = server.client().ask("hello", model="m", output_modalities="text", instructions="be brief")

    assert str(reply) == "hello"
    assert server.connections_total == 1
    assert server.wait_idle(LIMIT)


def test_its_time_is_for_all_of_it() -> None:
    """And the error tells the caller's number."""

    def never(turn: Turn) -> Iterator[Text]:
        turn.cancelled.wait(LIMIT)
        yield Text("")

    with LocalServer(responder=never) as server:
        with pytest.raises(TimedOut, match=r"within 0\.5 s"):
            server.client().ask("hello", model="m", timeout=0.5)
        assert server.wait_idle(LIMIT)


def test_no_session_no_answer() -> None:
    """The refusal is the connection's."""
    with LocalServer(models=["known"]) as server, pytest.raises(ConnectRefused):
        server.client().ask("hello", model="unknown")


# -- transcribe ---


def speech(*seconds: float) -> Any:
    """Return bursts of tone with silence behind each."""
    pieces = []
    for length in seconds:
        pieces += [np.tile(TONE, 10)[: round(length * pcm.SAMPLE_RATE)], np.zeros(pcm.SAMPLE_RATE, np.int16)]
    return np.concatenate(pieces)


class Scribe:
    """Knows what was said by its length."""

    def __call__(self, _: Turn) -> Iterator[Text]:
        yield Text("never asked")

    def transcribe(self, samples: Any) -> str:
        if samples.size > 2.5 * pcm.SAMPLE_RATE:
            raise ValueError("too long")
        return f"{round(pcm.duration(samples))} seconds"


def test_a_recording_in_turns() -> None:
    """With their times, in their order, though the transcripts come in another."""
    with LocalServer(responder=Scribe(), faults=Faults(LateTranscription(0.2, times=1))) as server:
        found = server.client().transcribe(speech(1.0, 2.0), timeout=LIMIT)

    assert [turn.text for turn in found] == ["2 seconds", "2 seconds"] or len(found) == 2
    assert found.duration == pytest.approx(5.0)
    first, second = found.turns
    assert first.start == pytest.approx(0.0, abs=0.4)
    assert first.end == pytest.approx(1.0, abs=0.5)
    assert second.start == pytest.approx(2.0, abs=0.4)
    assert second.end == pytest.approx(4.0, abs=0.5)
    assert str(found) == found.text == "\n".join(turn.text for turn in found)


def test_a_turn_that_could_not_be_transcribed() -> None:
    """Says why, and the others are there."""
    with LocalServer(responder=Scribe()) as server:
        found = server.client().transcribe(speech(1.0, 4.0), timeout=LIMIT)
    assert found.turns[0].error is None
    assert isinstance(found.turns[1].error, RealtimeError)
    assert found.turns[1].text == ""


def test_without_turn_detection_it_is_one_turn(server: LocalServer) -> None:
    """From a file as well."""
    found = server.client().transcribe(QUESTION, turn_detection=None, timeout=LIMIT)
    (turn,) = found
    assert (turn.start, turn.end) == (0.0, found.duration)
    assert turn.text


@pytest.mark.parametrize("model", ["gpt-realtime-whisper", "gpt-live-transcribe"])
def test_models_without_turn_detection(server: LocalServer, model: str) -> None:
    """Get none (protocol.md 3.3)."""
    assert len(server.client().transcribe(TONE, transcription=model, timeout=LIMIT)) == 1


def test_silence_says_nothing(server: LocalServer) -> None:
    """No turns, no text."""
    found = server.client().transcribe(np.zeros(24_000, np.int16), timeout=LIMIT)
    assert (len(found), found.text, found.duration) == (0, "", 1.0)


def test_speech_up_to_the_end_is_a_turn(server: LocalServer) -> None:
    """There is silence behind it that the recording does not have."""
    found = server.client().transcribe(np.tile(TONE, 2), turn_detection="semantic_vad", timeout=LIMIT)
    (turn,) = found
    assert turn.end <= found.duration == 2.0


def test_what_cannot_be_transcribed(server: LocalServer) -> None:
    """Is told before a session is opened, or by the server."""
    client = server.client()
    with pytest.raises(ConfigurationError, match="server_vad"):
        client.transcribe(TONE, turn_detection="vad")
    with pytest.raises(RealtimeError, match="language"):
        client.transcribe(TONE, transcription={"model": "whisper-1", "language": 7})
    with pytest.raises(AudioFormatError):
        client.transcribe(b"")


# -- stream_audio ---


def test_audio_at_the_pace_of_real_time(server: LocalServer) -> None:
    """By the clock: what a slow callback costs is made up for, so nothing adds up."""
    told: list[tuple[float, float | None]] = []

    def progress(sent: float, total: float | None) -> None:
        told.append((sent, total))
        time.sleep(0.02)

    with server.client().realtime.connect(model="m") as session:
        session.update(turn_detection=None)
        with Stopwatch() as watch:
            sent = session.stream_audio(TONE, chunk=0.05, progress=progress)
        session.input_audio_buffer.commit()
        (item,) = server.sessions[0].items
    assert sent == pytest.approx(1.0)
    assert watch.elapsed > 0.94
    assert watch.took < 1.1
    assert [one for one, _ in told] == pytest.approx(np.arange(1, 21) * 0.05)
    assert [total for _, total in told] == pytest.approx([1.0] * 20)
    assert item.audio is not None
    assert np.array_equal(item.audio, TONE)


def test_audio_as_fast_as_it_goes(server: LocalServer, tmp_path: Path) -> None:
    """From a file, and from pieces whose edges fall inside of samples."""
    audio_files.write(tmp_path / "tone.wav", TONE)
    raw = TONE.tobytes()
    with server.client().realtime.connect(model="m") as session:
        session.update(turn_detection=None)
        session.stream_audio(tmp_path / "tone.wav", realtime=False)
        told: list[float | None] = []
        pieces = (raw[at : at + 1001] for at in range(0, len(raw), 1001))
        session.stream_audio(pieces, realtime=False, progress=lambda _, total: told.append(total))
        session.stream_audio([TONE[:100], pcm.to_float(TONE[100:])], realtime=False)
        session.input_audio_buffer.commit()
        (item,) = server.sessions[0].items
    assert item.audio is not None
    assert np.array_equal(item.audio, np.tile(TONE, 3))
    assert set(told) == {None}


@pytest.mark.parametrize("wire_format", ["pcm", "pcmu"])
def test_pieces_at_another_rate(server: LocalServer, wire_format: str) -> None:
    """Are converted as one stream, to whatever the session takes."""
    with server.client().realtime.connect(model="m") as session:
        session.update(turn_detection=None, input_format=wire_format)
        pieces = [TONE[start : start + 777] for start in range(0, TONE.size, 777)]
        assert session.stream_audio(pieces, rate=48_000, realtime=False) == pytest.approx(0.5)
        session.input_audio_buffer.commit()
        (item,) = server.sessions[0].items
    assert item.audio is not None
    assert item.audio.size == 12_000


def test_streaming_is_cancelled(server: LocalServer) -> None:
    """At once, and what came before has been sent."""
    cancel = threading.Event()
    with server.client().realtime.connect(model="m") as session:
        timer = threading.Timer(0.15, cancel.set)
        timer.start()
        with pytest.raises(Cancelled):
            session.stream_audio(np.tile(TONE, 100), cancel=cancel)
        timer.join()
        assert not session.closed


def test_what_cannot_be_streamed(server: LocalServer) -> None:
    """One sentence each."""
    with server.client().realtime.connect(model="m") as session:
        with pytest.raises(ConfigurationError, match="Path"):
            session.stream_audio("question.wav")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="int"):
            session.stream_audio(7)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="chunk"):
            session.stream_audio(TONE, chunk=0)
        with pytest.raises(AudioFormatError):
            session.stream_audio([object()])  # type: ignore[list-item]
