"""Push to talk when something happens while the key is down, or has just gone up; and races that are nobody's fault."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from meshapi_rt import ConfigurationError, ReconnectPolicy, pcm
from meshapi_rt.agent import AgentState, VoiceAgent
from meshapi_rt.devices import FileMicrophone, FileSpeaker
from meshapi_rt.local import Audio, Delay, Drop, Faults, LocalServer, Turn

from ..clock import Stopwatch
from ..faces import likeness
from .stage import Stage, steady, until, word

USER, THINKING, SPEAKING, LISTENING = (
    AgentState.USER_SPEAKING,
    AgentState.THINKING,
    AgentState.SPEAKING,
    AgentState.LISTENING,
)
AGAIN = {"reconnect": ReconnectPolicy(delay=0.01, max_delay=0.05)}


class Listener:
    """Answers each turn, and keeps what was said."""

    def __init__(self) -> None:
        self.heard: list[NDArray[np.int16]] = []

    def __call__(self, turn: Turn) -> Iterator[Audio]:
        assert turn.items[-1].audio is not None
        self.heard.append(turn.items[-1].audio)
        yield Audio(steady(4000, 0.3), "I see.")


def test_reconnect_while_the_key_is_down() -> None:
    """What was said before the connection broke is part of the turn, once."""
    answers, speech = Listener(), word(4.0)
    microphone = FileMicrophone(speech, tail=math.inf)
    with Stage(answers, turn="push_to_talk", microphone=microphone, connect=AGAIN) as stage:
        with Stopwatch() as held, stage.agent.talk():
            time.sleep(0.6)
            stage.server.drop()
            until(lambda: stage.agent.metrics.reconnects == 1)
            time.sleep(0.5)
        stage.wait_state(USER, THINKING, SPEAKING, LISTENING)

    (heard,) = answers.heard
    assert held.elapsed - 0.1 < pcm.duration(heard) < held.elapsed + 0.3
    assert likeness(heard, speech[: heard.size]) > 0.99
    assert stage.told("error") == []


def test_a_commit_that_is_lost() -> None:
    """A connection that breaks when the key goes up costs no word: the turn is said again, and answered."""
    answers, speech = Listener(), word(2.0)
    faults = Faults(Drop(on="input_audio_buffer.commit", times=1))
    microphone = FileMicrophone(speech, tail=math.inf)
    with Stage(answers, turn="push_to_talk", microphone=microphone, connect=AGAIN, server={"faults": faults}) as stage:
        with Stopwatch() as held, stage.agent.talk():
            time.sleep(0.6)
        stage.wait_state(THINKING, SPEAKING, LISTENING)

    (heard,) = answers.heard
    assert held.elapsed - 0.1 < pcm.duration(heard) < held.elapsed + 0.4
    assert likeness(heard, speech[: heard.size]) > 0.99
    assert len(stage.sent("input_audio_buffer.commit")) == 2
    assert stage.agent.metrics.reconnects == 1


def test_another_microphone_while_the_key_is_down() -> None:
    """A turn goes on with another microphone, and ends when the key goes up."""
    answers = Listener()
    with Stage(answers, turn="push_to_talk", microphone=FileMicrophone(word(2.0), tail=math.inf)) as stage:
        with FileMicrophone(word(2.0, seed=2), tail=math.inf) as other:
            with stage.agent.talk():
                time.sleep(0.4)
                stage.agent.replace(microphone=other)
                time.sleep(0.4)
            stage.wait_state(USER, THINKING, SPEAKING, LISTENING)

    (heard,) = answers.heard
    assert pcm.duration(heard) > 0.6
    assert stage.told("error") == []


def test_an_answer_that_is_still_made() -> None:
    """Key and typing cancel an answer that is heard while the server still makes it; the next one comes at once."""

    def endless(turn: Turn) -> Iterator[Audio]:
        yield Audio(steady(4000, 0.5), "I see.")
        turn.cancelled.wait(20)

    with Stage(endless, turn="push_to_talk") as stage:
        stage.agent.say("Tell me.")
        stage.wait_state(SPEAKING)
        with stage.agent.talk():
            time.sleep(0.2)
        stage.wait_state(USER, THINKING, SPEAKING)
        stage.agent.say("Or tell me this.")
        stage.wait_state(SPEAKING, THINKING, SPEAKING)

    statuses = [event["response"]["status"] for event in stage.told("response.done")]
    assert statuses[:2] == ["cancelled", "cancelled"]
    assert len(stage.sent("response.cancel")) >= 2
    assert stage.told("error") == []


def test_an_answer_that_was_just_complete() -> None:
    """A cancel that comes too late is refused; that is nobody's business, and the next turn is answered."""
    faults = Faults(Delay(0.5, on="response.done", times=1))
    with Stage(Listener(), turn="push_to_talk", server={"faults": faults}) as stage:
        with stage.agent.talk():
            time.sleep(0.2)
        stage.wait_state(SPEAKING)
        with stage.agent.talk():
            time.sleep(0.3)
        stage.wait_state(SPEAKING, LISTENING)

    assert [event["error"]["code"] for event in stage.told("error")] == ["response_cancel_not_active"]
    assert stage.agent.metrics.harmless == 1
    assert stage.errors == []


def test_an_item_that_somebody_deletes() -> None:
    """Where an item was deleted while it was heard, its truncation is refused, and the conversation goes on."""
    with Stage(Listener(), turn="push_to_talk") as stage:
        with stage.agent.talk():
            time.sleep(0.2)
        stage.wait_state(SPEAKING)
        item_id = stage.told("response.output_item.added")[0]["item"]["id"]
        until(lambda: stage.speaker.heard(item_id).ms > 50)
        stage.session.send({"type": "conversation.item.delete", "item_id": item_id})
        with stage.agent.talk():
            time.sleep(0.2)
        stage.wait_state(THINKING, SPEAKING, LISTENING)

    assert len(stage.told("error")) == 1
    assert stage.agent.metrics.harmless == 1
    assert stage.errors == []


def test_a_microphone_of_another_format() -> None:
    """Blocks of G.711 are refused at the start: the agent converts by itself."""
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        with FileMicrophone(format="audio/pcmu") as microphone, FileSpeaker() as speaker:
            agent = VoiceAgent(session, microphone=microphone, speaker=speaker)
            with pytest.raises(ConfigurationError, match="gives audio/pcmu"):
                agent.start()
