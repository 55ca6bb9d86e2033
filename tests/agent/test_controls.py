"""What a face needs of a voice agent: a button that silences it, and every message of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from meshapi_rt import ConfigurationError, RealtimeMessage
from meshapi_rt.agent import AgentState
from meshapi_rt.local import Audio, Turn

from .stage import LIMIT, Stage, level_of, steady, until

LISTENING, THINKING, SPEAKING = AgentState.LISTENING, AgentState.THINKING, AgentState.SPEAKING


def long(_turn: Turn) -> Iterator[Audio]:
    """Answer with 20 s."""
    yield Audio(steady(5000, 20.0), "a long story")


def test_interrupt_cuts_off_what_is_heard() -> None:
    """interrupt() silences the answer, tells the server where it was cut, and the agent listens."""
    with Stage(long) as stage:
        stage.agent.say("Tell me.")
        stage.wait_state(SPEAKING)
        stage.agent.interrupt()
        stage.wait_state(SPEAKING, LISTENING)
        stage.wait_said(2)

        assert level_of(stage.speaker.audio, 5000) < 24_000
        assert [said.interrupted for said in stage.said if said.final] == [False, True]
        assert len(stage.sent("conversation.item.truncate", "conversation.item.delete")) == 1
        assert stage.agent.metrics.interruptions == 1


def test_interrupt_cancels_what_is_awaited() -> None:
    """An answer under way of which nothing was heard yet is cancelled and never heard."""

    def slow(turn: Turn) -> Iterator[Any]:
        turn.cancelled.wait(LIMIT)
        yield Audio(steady(5000, 0.2), "late")

    with Stage(slow) as stage:
        stage.agent.say("Think.")
        until(lambda: stage.told("response.created"))
        stage.agent.interrupt()
        stage.wait_state(THINKING, LISTENING)

    assert [event["response"]["status"] for event in stage.told("response.done")] == ["cancelled"]
    assert level_of(stage.speaker.audio, 5000) == 0


def test_interrupt_without_an_answer() -> None:
    """Nothing happens where there is nothing to cut off; an agent that does not run refuses."""
    with Stage(long) as stage:
        stage.agent.interrupt()

    with pytest.raises(ConfigurationError, match="not running"):
        stage.agent.interrupt()
    assert stage.agent.metrics.interruptions == 0
    assert stage.sent("response.cancel", "conversation.item.truncate") == []


def test_every_message_is_told() -> None:
    """on_message gets what the session receives, in order, audio included."""
    messages: list[RealtimeMessage] = []
    with Stage(lambda _: [Audio(steady(5000, 0.2), "yes")], on_message=messages.append) as stage:
        stage.agent.say("Well?")
        stage.wait_state(SPEAKING, LISTENING)

    kinds = [message.type for message in messages]
    told = [event["type"] for event in stage.told()]
    assert [kind for kind in kinds if kind != "session.updated"] == [kind for kind in told if kind != "session.updated"]
    assert b"".join(message.audio for message in messages if message.audio) == steady(5000, 0.2).tobytes()
