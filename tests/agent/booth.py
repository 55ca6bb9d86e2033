"""An agent on the virtual sound card: what is said is played to its microphone, what it answers is recorded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshapi_rt import pcm
from meshapi_rt.devices import Microphone, Speaker
from meshapi_rt.local.responder import Responder

from ..devices.card import Card, Recorder, Sink, pactl
from .stage import Stage

__all__ = ["RATE", "SAFE", "Booth", "at_card", "booth", "loop_back", "runs"]

RATE = 48_000
SAFE = 0.1  # seconds of latency, where that is not what is tested: a busy machine leaves no gaps


def at_card(signal: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return a signal of 24 kHz at the card's rate."""
    return pcm.resample(signal, pcm.SAMPLE_RATE, RATE)


class Booth:
    """A stage whose microphone and speaker are the card's.

    Attributes:
        stage: Server, session and agent.
        heard: What the speaker plays.
        said: What the microphone hears.
    """

    def __init__(self, stage: Stage, mouth: Sink, heard: Recorder, said: Recorder) -> None:
        self.stage = stage
        self.heard = heard
        self.said = said
        self._mouth = mouth

    def say(self, signal: NDArray[np.int16]) -> None:
        """Begin to play something to the microphone; what is said by two callers at once is mixed."""
        self._mouth.play(at_card(signal))

    @property
    def troubled(self) -> bool:
        """Whether the machine was too busy for sound, which the devices tell."""
        speaker = self.stage.speaker
        assert isinstance(speaker, Speaker)
        return bool(self.stage.microphone.overruns or speaker.dropouts or speaker.underruns)


@contextlib.contextmanager
def booth(
    card: Card, responder: Responder, *, latency: float = SAFE, echo_db: float | None = None, **stage: Any
) -> Iterator[Booth]:
    """Set up everything, and start the agent.

    Args:
        card: Where.
        responder: Who answers.
        latency: Of the speaker.
        echo_db: How loud the microphone hears the speaker; ``None``: not at all.
        stage: Options of the stage.
    """
    ear, mouth = card.speaker(RATE), card.microphone(RATE)
    stage.setdefault("echo_gate", False)
    with contextlib.ExitStack() as stack:
        heard, said = stack.enter_context(ear.recorded()), stack.enter_context(mouth.recorded())
        if echo_db is not None:
            stack.enter_context(loop_back(ear, mouth, echo_db))
        microphone = stack.enter_context(Microphone("pulse", rate=RATE))
        speaker = stack.enter_context(Speaker("pulse", rate=RATE, latency=latency))
        microphone.read(timeout=15)
        speaker.start()
        made = Stage(responder, microphone=microphone, speaker=speaker, **stage)
        yield Booth(stack.enter_context(made), mouth, heard, said)


@contextlib.contextmanager
def loop_back(speaker: Sink, microphone: Sink, db: float) -> Iterator[None]:
    """Let the microphone hear the speaker, so much softer or louder, as in a room without headphones."""
    places = [f"source={speaker.name}.monitor", f"sink={microphone.name}", "latency_msec=30"]
    module = pactl("load-module", "module-loopback", *places)
    try:
        inputs = json.loads(pactl("-f", "json", "list", "sink-inputs"))
        index = next(str(one["index"]) for one in inputs if str(one["owner_module"]) == module)
        pactl("set-sink-input-volume", index, f"{db}dB")
        yield
    finally:
        pactl("unload-module", module)


def runs(recording: NDArray[np.int16], pause: float = 0.1, floor: int = 20) -> list[tuple[int, int]]:
    """Return where each stretch of sound begins and ends; shorter pauses belong to it."""
    loud = np.flatnonzero(np.abs(recording.astype(np.int32)) > floor)
    if not loud.size:
        return []
    gaps = np.flatnonzero(np.diff(loud) > pause * RATE)
    begins, ends = loud[np.concatenate(([0], gaps + 1))], loud[np.concatenate((gaps, [-1]))]
    return [(int(begin), int(end) + 1) for begin, end in zip(begins, ends, strict=True)]
