"""The echo gate: what a room does to the agent's voice is silenced, and a user who speaks up gets through."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from meshapi_rt import pcm
from meshapi_rt.agent import AgentState, EchoGate
from meshapi_rt.agent.gate import Gate
from meshapi_rt.devices import FileMicrophone, FileSpeaker
from meshapi_rt.local import Audio, Turn

from ..devices.signals import speech
from .stage import Stage, until

BLOCK = 480
VOICE = speech(4.0)
ECHO = speech(4.0, seed=5)


class Room:
    """Plays a voice, and gives a microphone its echo and what the user says."""

    def __init__(self, echo_db: float, plays: float = 3.0, late: float = 0.0) -> None:
        self.gain = 10 ** (echo_db / 20)
        self.plays = plays
        sound = ECHO[: round(plays * 24_000)] * self.gain
        self.echo = np.concatenate((np.zeros(round(late * 24_000)), sound, np.zeros(ECHO.size)))

    def loudest(self, since: float, until: float) -> float:
        """Tell what was played between two moments; the voice begins at 0."""
        first, last = max(0, int(since * 24_000)), int(min(until, self.plays) * 24_000)
        parts = [ECHO[at : at + 240] for at in range(first, last, 240)]
        return max((pcm.level(part) for part in parts if part.size), default=-math.inf)

    def hear(self, number: int, said: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return a block of the microphone."""
        span = slice(number * BLOCK, (number + 1) * BLOCK)
        return np.clip(self.echo[span] + said[span], -32_768, 32_767).astype(np.int16)


def listen(room: Room, said: NDArray[np.int16], rules: EchoGate | None = None) -> NDArray[np.int16]:
    """Return what a gate passes on of four seconds."""
    gate = Gate(rules or EchoGate(), room.loudest)
    passed = [
        block
        for number in range(len(VOICE) // BLOCK)
        for block in gate.pass_on(room.hear(number, said).tobytes(), (number + 1) * 0.02)
    ]
    return np.frombuffer(b"".join(passed), np.int16)


@pytest.mark.parametrize("late", [0.0, 0.01, 0.05, 0.15, 0.24])
@pytest.mark.parametrize("echo_db", [12, 6, 0, -6, -20, -40])
def test_an_echo_does_not_get_through(echo_db: float, late: float) -> None:
    """However loud the echo, from the first word on, and however long it takes: the server hears silence."""
    passed = listen(Room(echo_db, late=late), np.zeros(96_000, np.int16))

    assert passed.size == 96_000
    assert not passed.any()


@pytest.mark.parametrize("echo_db", [-20, -30])
def test_a_user_gets_through(echo_db: float) -> None:
    """A voice that is clearly louder than the echo is heard within a quarter of a second, from its first sound."""
    said = np.zeros(96_000, np.int16)
    said[36_000:48_000] = VOICE[:12_000]

    passed = listen(Room(echo_db), said)

    began = int(np.flatnonzero(passed)[0])
    assert 36_000 - BLOCK <= began < 42_000
    assert passed.size == 96_000


@pytest.mark.parametrize("seed", range(6))
def test_a_voice_that_swells_gets_through(seed: int) -> None:
    """Somebody who begins softly is not taken for a louder echo."""
    said = np.zeros(96_000, np.int16)
    said[36_000:60_000] = speech(1.0, seed=seed) * np.minimum(1.0, np.linspace(0.0, 2.0, 24_000))

    passed = listen(Room(-15), said)

    assert 36_000 - BLOCK <= int(np.flatnonzero(passed)[0]) < 60_000


def test_a_microphone_that_was_muted_at_first() -> None:
    """Half a second of nothing teaches nothing: an echo that comes then is still one, and a user still gets through."""
    gate = Gate(EchoGate(), Room(0).loudest)
    silence = np.zeros(BLOCK, np.int16).tobytes()
    muted = [block for number in range(50) for block in gate.pass_on(silence, (number + 1) * 0.02)]
    echo = [
        block
        for number in range(50, 100)
        for block in gate.pass_on(Room(0).hear(number, np.zeros(96_000, np.int16)).tobytes(), (number + 1) * 0.02)
    ]

    assert gate.silenced >= 90
    assert not any(np.frombuffer(b"".join(muted + echo), np.int16))


def test_nothing_is_gated_while_nothing_is_played() -> None:
    """Without anything to hear of the speaker every block passes at once, as it is."""
    passed = listen(Room(0, plays=0.0), VOICE)

    assert np.array_equal(passed, VOICE)


def test_after_the_echo() -> None:
    """Once the room is quiet again everything passes, without delay."""
    said = np.zeros(96_000, np.int16)
    said[84_000:] = VOICE[:12_000]

    passed = listen(Room(-10), said)

    assert np.array_equal(passed[84_000:], said[84_000:])


class Feedback(FileMicrophone):
    """A microphone beside the speaker: it hears what is played, 12 dB softer and 30 ms later, and what is said."""

    def __init__(self, speaker: FileSpeaker) -> None:
        super().__init__(None, tail=math.inf)
        self._speaker = speaker
        self._at = 0

    def read(self, timeout: float | None = None, cancel: object = None) -> bytes:
        block = np.frombuffer(super().read(timeout, cancel), np.int16)  # type: ignore[arg-type]
        played = self._speaker.audio
        end = max(0, played.size - 720)
        echo = np.zeros(block.size)
        taken = played[max(0, end - block.size) : end]
        echo[: taken.size] = taken * 0.25
        mixed: bytes = np.clip(block + echo, -32_768, 32_767).astype(np.int16).tobytes()
        return mixed if block.size else b""


@pytest.mark.parametrize("gated", [True, False])
def test_an_agent_that_hears_itself(gated: bool) -> None:
    """Without headphones an agent would interrupt itself; with the gate it does not, and the user still can."""

    def responder(_turn: Turn) -> list[Audio]:
        return [Audio(ECHO, "a long answer")]

    with FileSpeaker() as speaker, Feedback(speaker) as microphone:
        with Stage(responder, speaker=speaker, microphone=microphone, echo_gate=gated) as stage:
            stage.agent.say("Tell me.")
            stage.wait_state(AgentState.SPEAKING)
            time.sleep(1.2)
            interrupted = stage.agent.metrics.interruptions
            if gated:
                microphone.say(np.clip(VOICE[:24_000] * 2.0, -32_768, 32_767).astype(np.int16))
                until(lambda: stage.agent.metrics.interruptions)

    assert bool(interrupted) is not gated
