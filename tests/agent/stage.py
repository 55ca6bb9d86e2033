"""An agent between a microphone and a speaker that are recordings, and a server with a scripted responder."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from meshapi_rt import MODELS, MeshAPIError, RealtimeSession
from meshapi_rt.agent import AgentState, Utterance, VoiceAgent
from meshapi_rt.devices import FileMicrophone, FileSpeaker
from meshapi_rt.local import LocalServer
from meshapi_rt.local.responder import Responder

from ..devices.signals import speech
from ..local.validation import assert_valid_client_events

__all__ = ["LIMIT", "QUICK_VAD", "Stage", "level_of", "runs_of", "steady", "until", "word"]

LIMIT = 10.0
QUICK_VAD = {"type": "server_vad", "silence_duration_ms": 200}


def word(seconds: float = 0.3, seed: int = 1) -> NDArray[np.int16]:
    """Return something that a voice detection takes for speech."""
    return speech(seconds, seed=seed)


def steady(level: int, seconds: float) -> NDArray[np.int16]:
    """Return a sound that can be recognised in a recording, and measured to the sample: one level all the time."""
    return np.full(round(seconds * 24_000), level, np.int16)


def runs_of(recording: NDArray[np.int16]) -> list[tuple[int, int]]:
    """Return the level and the length in samples of each sound in a recording, fades included."""
    sounding = np.concatenate(([0], recording != 0, [0])).astype(np.int8)
    starts, ends = np.flatnonzero(np.diff(sounding) == 1), np.flatnonzero(np.diff(sounding) == -1)
    return [(int(recording[start:end].max()), int(end - start)) for start, end in zip(starts, ends, strict=True)]


def level_of(recording: NDArray[np.int16], level: int) -> int:
    """Return how many samples of a recording belong to the sound of that level."""
    return sum(length for found, length in runs_of(recording) if found == level)


def until(condition: Callable[[], object], limit: float = LIMIT) -> None:
    """Wait for something that no event tells of."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


class Stage:
    """Server, session, microphone, speaker and agent; everything that the agent told is kept.

    Args:
        responder: Who answers.
        speed: Of microphone and speaker.
        microphone: Another one than a recording of silence without end.
        speaker: Another one than a recording.
        server: Options of the server.
        connect: Options of the session.
        agent: Options of the agent.
    """

    def __init__(
        self,
        responder: Responder | None = None,
        *,
        speed: float = 1.0,
        microphone: Any = None,
        speaker: Any = None,
        server: dict[str, Any] | None = None,
        connect: dict[str, Any] | None = None,
        **agent: Any,
    ) -> None:
        self.states: list[AgentState] = []
        self.said: list[Utterance] = []
        self.errors: list[MeshAPIError] = []
        self.news = threading.Condition()
        self.server = LocalServer(responder=responder, **{"record": True, **(server or {})}).start()
        self.session: RealtimeSession = self.server.client().realtime.connect(
            model=MODELS.GPT_REALTIME_MINI, **(connect or {})
        )
        self.microphone = microphone or FileMicrophone(speed=speed, tail=math.inf)
        self.speaker = speaker or FileSpeaker(speed=speed)
        agent.setdefault("turn", QUICK_VAD)
        self.agent = VoiceAgent(
            self.session,
            microphone=self.microphone,
            speaker=self.speaker,
            on_state=self._keep(self.states),
            on_transcript=self._keep(self.said),
            on_error=self._keep(self.errors) if agent.pop("hear_errors", True) else None,
            **agent,
        )

    def _keep(self, kept: list[Any]) -> Callable[[Any], None]:
        def keep(news: Any) -> None:
            with self.news:
                kept.append(news)
                self.news.notify_all()

        return keep

    def __enter__(self) -> Self:
        self.agent.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.stop()
        self.microphone.close()
        self.speaker.close()
        self.session.close()
        self.server.stop()
        if _[0] is None:
            assert_valid_client_events(self.sent())

    def wait(self, condition: Callable[[], object], limit: float = LIMIT) -> None:
        """Wait until what the agent told fulfils a condition."""
        with self.news:
            assert self.news.wait_for(condition, limit), (self.states, self.said, self.errors)

    def wait_state(self, *states: AgentState) -> None:
        """Wait until the agent's last states are these."""
        self.wait(lambda: tuple(self.states[-len(states) :]) == states)

    def wait_said(self, count: int) -> None:
        """Wait until so many utterances are final."""
        self.wait(lambda: len(self.final) >= count)

    @property
    def final(self) -> list[tuple[str, str]]:
        """Who said what."""
        return [(said.role, said.text) for said in self.said if said.final]

    def sent(self, *types: str) -> list[Any]:
        """Return the events that the server got, of some types or all."""
        return self._events("client", types)

    def told(self, *types: str) -> list[Any]:
        """Return the events that the server sent, of some types or all."""
        return self._events("server", types)

    def _events(self, sender: str, types: tuple[str, ...]) -> list[Any]:
        events = [record.event for record in self.server.transcript if record.sender == sender and record.event]
        return [event for event in events if not types or event["type"] in types]
