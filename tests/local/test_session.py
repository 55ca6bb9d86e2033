"""The session by itself, with surroundings that do what the test says: what would take seconds on a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from meshapi_rt.local import audio_input
from meshapi_rt.local.failures import Terminal, terminal_event
from meshapi_rt.local.host import Running, TranscriptionJob
from meshapi_rt.local.rendering import Spoken, Written
from meshapi_rt.local.session import Session
from meshapi_rt.local.settings import SessionSettings

from .plain import encode, silence, speech
from .validation import assert_valid_server_events


class Timer:
    """One thing that will happen when the test says so."""

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self.seconds = seconds
        self.action = action
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen."""
        self.cancelled = True


class Surroundings:
    """Keeps what the session sends and asks for."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.answers: list[Running] = []
        self.jobs: list[TranscriptionJob] = []
        self.timers: list[Timer] = []
        self.session = Session(self, SessionSettings("realtime", "openai/gpt-realtime", 1790000000))

    def send(self, event: dict[str, Any]) -> None:
        """Keep an event."""
        self.sent.append({"event_id": "event_x", **event})

    def answer(self, running: Running) -> None:
        """Keep a response that wants an answer."""
        self.answers.append(running)

    def transcribe(self, job: TranscriptionJob) -> None:
        """Keep a job."""
        self.jobs.append(job)

    def call_later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Keep a timer."""
        self.timers.append(Timer(seconds, action))
        return self.timers[-1]

    def receive(self, event_type: str, **fields: Any) -> list[str]:
        """Let the session handle an event; return the types of what it sends."""
        before = len(self.sent)
        self.session.receive(json.dumps({"type": event_type, **fields}))
        assert_valid_server_events(self.sent[before:])
        return [str(event["type"]) for event in self.sent[before:]]

    def speak(self, ms: int) -> None:
        """Answer the last response with audio of that length."""
        running = self.answers[-1]
        assert self.session.speaking.absorb(running, Written("hm"))
        assert self.session.speaking.absorb(running, Spoken(bytes(ms * 48)))
        self.session.speaking.finish(running, None)


def idle_session(timeout_ms: int = 6000) -> Surroundings:
    around = Surroundings()
    detection = {"type": "server_vad", "idle_timeout_ms": timeout_ms}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    assert around.receive("session.update", session=session) == ["session.updated"]
    around.receive("response.create")
    return around


def test_idle_user_is_prompted() -> None:
    """After the answer's playing time and the idle timeout the silent stretch becomes a turn: 4.14."""
    around = idle_session()
    around.receive("input_audio_buffer.append", audio=encode(silence(0.3).tobytes()))
    around.speak(2000)
    (timer,) = around.timers
    assert timer.seconds == 8.0

    before = len(around.sent)
    timer.action()

    assert [event["type"] for event in around.sent[before:]] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    triggered = around.sent[before]
    assert (triggered["audio_start_ms"], triggered["audio_end_ms"]) == (0, 300)
    assert triggered["item_id"] == around.sent[before + 1]["item_id"]
    assert_valid_server_events(around.sent)


def test_speech_stops_the_idle_timer() -> None:
    """A user who speaks in time is not prompted; neither is one who speaks already."""
    around = idle_session()
    around.speak(100)
    around.receive("input_audio_buffer.append", audio=encode(speech(0.3).tobytes()))
    assert around.timers[0].cancelled


def test_settings_stop_the_idle_timer() -> None:
    """Turn detection that is switched off prompts nobody."""
    around = idle_session()
    around.speak(100)
    session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    around.receive("session.update", session=session)
    assert around.timers[0].cancelled


def test_late_transcription() -> None:
    """Transcriptions may come in any order, also for items that are gone."""
    around = Surroundings()
    audio = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
    around.receive("session.update", session={"type": "realtime", "audio": audio})
    for _ in range(2):
        around.receive("input_audio_buffer.append", audio=encode(speech(0.2).tobytes()))
        around.receive("input_audio_buffer.commit")
    first, second = around.jobs
    around.receive("conversation.item.delete", item_id=first.item_id)

    around.session.listening.transcribed(second, "two", None)
    around.session.listening.transcribed(first, "one", None)

    completed = [event for event in around.sent if event["type"].endswith("transcription.completed")]
    assert [event["transcript"] for event in completed] == ["two", "one"]
    assert_valid_server_events(around.sent)


def test_speed_is_locked_while_a_response_runs() -> None:
    """A new speed is refused in mid-response, and taken afterwards."""
    around = Surroundings()
    faster = {"type": "realtime", "audio": {"output": {"speed": 1.5}}}
    around.receive("response.create")
    assert around.receive("session.update", session=faster) == ["error"]
    around.speak(100)
    assert around.receive("session.update", session=faster) == ["session.updated"]


def test_full_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the buffer holds is refused; what was there can be committed."""
    monkeypatch.setattr(audio_input, "_LONGEST_BYTES", 20_000)
    around = Surroundings()
    session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    around.receive("session.update", session=session)
    piece = encode(bytes(9_600))
    answers = [around.receive("input_audio_buffer.append", audio=piece) for _ in range(3)]
    assert answers == [[], [], ["error"]]
    assert around.receive("input_audio_buffer.commit")[0] == "input_audio_buffer.committed"


def test_ended_session_tells_its_responders() -> None:
    """When a session ends, everybody who still answers is told."""
    around = Surroundings()
    around.receive("response.create")
    around.receive("response.create", response={"conversation": "none"})
    around.session.close()
    assert all(running.turn.cancelled.is_set() for running in around.answers)
    assert not around.session.speaking.absorb(around.answers[0], Written("late"))


def test_terminal_envelope() -> None:
    """A terminal error has a request id and no event id, and a close code of the documented ones."""
    event = terminal_event(Terminal("service_draining", "x"))
    assert_valid_server_events([event])
    assert Terminal("insufficient_quota", "x").close_code == 4402
    assert Terminal("anything_else", "x").close_code == 1011
