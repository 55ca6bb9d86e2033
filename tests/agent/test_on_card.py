"""A voice agent on a sound card, in real time: what is played to the microphone, and what the speaker is heard to say.

The card is virtual (`.ci/sound`); devices, resampling and clocks are the real ones. A machine may be too busy for
sound now and then, which the devices count: such a try says nothing, and is made again.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator

import numpy as np
import pytest

from meshapi_rt import audio_files
from meshapi_rt.agent import AgentState
from meshapi_rt.local import Audio, Turn

from ..devices.card import Card
from ..devices.signals import jump, noise_ratio, span, speech, tone
from ..faces import QUESTION
from .booth import RATE, Booth, at_card, booth, runs
from .stage import until, word

LISTENING, USER, THINKING = AgentState.LISTENING, AgentState.USER_SPEAKING, AgentState.THINKING
SPEAKING = AgentState.SPEAKING
TRIES = 4
FADE = 0.005  # seconds
PATIENCE = {"type": "server_vad", "silence_duration_ms": 900}  # pauses inside of the question are shorter


class Attentive:
    """Answers with a speech, and keeps what it heard."""

    def __init__(self, seconds: float) -> None:
        self.answer = speech(seconds, seed=4)
        self.heard: list[Turn] = []

    def __call__(self, turn: Turn) -> Iterator[Audio]:
        self.heard.append(turn)
        yield Audio(self.answer, "an answer of some length")


# -- hearing and speaking ---


def test_a_question_and_its_answer(card: Card) -> None:
    """A spoken question arrives whole; its answer is heard complete, in order, without gaps and clicks, when told."""
    question = audio_files.read(QUESTION)
    for _ in range(TRIES):
        answers = Attentive(2.0)
        with booth(card, answers, turn=PATIENCE) as place:
            place.say(question)
            place.stage.wait_state(THINKING, SPEAKING, LISTENING)
            heard, troubled = place.heard.settle(), place.troubled
            (turn,) = place.stage.agent.metrics.turns
            latency = measured_latency(place)
        if not troubled:
            break

    wanted = at_card(answers.answer)
    begin, end = span(heard)
    assert noise_ratio(heard, wanted, round(RATE * FADE)) < -40
    assert abs((end - begin) / RATE - 2.0) < 0.02
    assert jump(heard) <= jump(wanted) * 1.05 + 2
    arrived = answers.heard[0].audio
    assert arrived is not None
    assert noise_ratio(arrived, question[4800:-4800], 120) < -30
    assert turn.latency == pytest.approx(latency, abs=0.06)


def measured_latency(place: Booth) -> float:
    """Return the seconds between the end of the question and the beginning of the answer, by the two recordings."""
    _, spoken = span(place.said.samples, 300)
    answer, _ = span(place.heard.samples)
    return place.heard.time_of(answer) - place.said.time_of(spoken)


# -- barge-in ---


def interrupt(place: Booth, rounds: int, luck: random.Random) -> None:
    """Ask, and interrupt each answer with the next question at a random moment."""
    stage = place.stage
    place.say(word(0.25))
    for _ in range(rounds):
        stage.wait_state(SPEAKING)
        time.sleep(luck.uniform(0, 1.2))
        known = len(stage.told("response.created"))
        place.say(word(0.25))
        until(lambda known=known: len(stage.told("response.created")) > known)  # type: ignore[misc]
    stage.wait_state(SPEAKING, LISTENING)


def differences(place: Booth) -> list[float]:
    """Return by how many ms what the server was told of each item is off from what was recorded of it."""
    stage = place.stage
    cut = {event["item_id"]: event["audio_end_ms"] for event in stage.sent("conversation.item.truncate")}
    deleted = {event["item_id"] for event in stage.sent("conversation.item.delete")}
    items = [event["item"]["id"] for event in stage.told("response.output_item.added")]
    recorded = [1000 * (end - begin) / RATE for begin, end in runs(place.heard.samples)]
    sounded = [item for item in items if item not in deleted]
    assert len(recorded) == len(sounded), (recorded, cut, deleted)
    told = [cut.get(item, 1000 * ANSWER) for item in sounded]
    return [abs(one - other) for one, other in zip(told, recorded, strict=True)]


ANSWER = 2.5  # seconds
NO_CLICK = jump(at_card(tone(0.5))) + 8000 / (RATE * FADE)  # the signal's own steps, and those of a fade


def conversation(card: Card, seed: int) -> list[float]:
    """Interrupt five answers; return the differences in ms."""
    for _ in range(TRIES):
        with booth(card, lambda _turn: [Audio(tone(ANSWER), "words " * 20)], latency=0.03) as place:
            interrupt(place, 5, random.Random(seed))
            place.heard.settle()
            clicks = jump(place.heard.samples)
            if not place.troubled and clicks <= NO_CLICK:  # a sound server that comes too late tells only by a click
                break

    assert place.stage.agent.metrics.interruptions == 5
    assert place.stage.told("error") == []
    assert clicks <= NO_CLICK
    return differences(place)


@pytest.mark.parametrize(
    "count", [1, pytest.param(12, marks=[pytest.mark.soak, pytest.mark.timeout(500)])], ids=["sample", "whole"]
)
def test_barge_in(card: Card, count: int) -> None:
    """What the server is told of a cut answer is what the card was heard to play of it.

    How far an item was heard comes from the card's own clock: each block handed to it says when it will sound, and
    at the cut everything handed over counts as heard up to the fade. The recording knows nothing of that.
    """
    off = sorted(difference for seed in range(count) for difference in conversation(card, seed))

    p95 = off[round(len(off) * 0.95) - 1]
    print(f"{len(off)} answers, off by {statistics.median(off):.2f} ms (p50), {p95:.2f} (p95), {off[-1]:.2f} (most)")
    assert p95 <= 20, off
    assert off[-1] <= 60, off


# -- without headphones ---


@pytest.mark.parametrize("gated", [True, False])
def test_the_room_between_speaker_and_microphone(card: Card, gated: bool) -> None:
    """What the microphone hears of the speaker interrupts nobody, unless the gate is off; a user still does."""
    answer = speech(5.0, seed=9)
    with booth(card, lambda _turn: [Audio(answer, "a long answer")], echo_db=-12, echo_gate=gated) as place:
        stage = place.stage
        stage.agent.say("Tell me.")
        stage.wait_state(SPEAKING)
        time.sleep(2.5)
        by_itself = stage.agent.metrics.interruptions
        echo = span(place.said.samples)
        if gated:
            place.say(np.clip(word(1.0, seed=3) * 2.0, -32_768, 32_767).astype(np.int16))
            until(lambda: stage.agent.metrics.interruptions)
            until(lambda: stage.sent("conversation.item.truncate"))

    assert echo != (0, 0)  # there was one
    assert bool(by_itself) is not gated
