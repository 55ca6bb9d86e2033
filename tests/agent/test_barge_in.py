"""The truth about interruptions: what the server is told against what the recording of the speaker shows."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import numpy as np
import pytest

from meshapi_rt.agent import AgentState
from meshapi_rt.local import Audio, Send, Turn

from .stage import QUICK_VAD, Stage, level_of, steady, until, word

SPEED = 2.0  # times real time
SECONDS = 1.5  # of an answer
MS = 24  # samples; a fade may end on a sample of silence
KINDS = ("before", "middle", "after", "last", "twice")


class Answers:
    """Answers each turn with a level of its own; how it comes is what the test wants next."""

    def __init__(self) -> None:
        self.kind = "after"
        self.levels: dict[str, int] = {}

    def __call__(self, turn: Turn) -> Iterator[Audio]:
        kind = self.kind
        level = self.levels[turn.response_id] = 2000 + 100 * len(self.levels)
        if kind == "before":
            turn.cancelled.wait(0.6)
        pieces = 10 if kind == "middle" else 1
        for piece in np.array_split(steady(level, SECONDS), pieces):
            yield Audio(piece, "some words of it ")
            if kind == "middle":
                turn.cancelled.wait(0.05)


class Trial:
    """Interrupts a conversation again and again, each question being the interruption of the answer before."""

    def __init__(self, stage: Stage, answers: Answers, luck: random.Random) -> None:
        self.stage, self.answers, self.luck = stage, answers, luck

    def question(self, kind: str) -> None:
        """Ask; interrupts what sounds."""
        self.answers.kind = kind
        known = len(self.answers.levels)
        self.stage.microphone.say(word(0.25))
        until(lambda: len(self.answers.levels) > known)

    def moment(self, kind: str) -> None:
        """Wait for the moment of the next interruption."""
        stage = self.stage
        if kind in ("before", "twice"):
            time.sleep(self.luck.uniform(0, 0.2))
            return
        stage.wait_state(AgentState.SPEAKING)
        if kind == "last":
            # The voice detection needs some 80 ms of speech until it tells.
            early = 2000 + self.luck.randrange(-700, 700)
            until(lambda: stage.speaker.queued * 24_000 < early)
        else:
            time.sleep(self.luck.uniform(0, 0.9 * SECONDS / SPEED))


def check(stage: Stage, answers: Answers) -> list[float]:
    """Compare what the server got with the recording; return the differences in ms."""
    recording = stage.speaker.audio
    items = {
        event["item"]["id"]: event["response_id"]
        for event in stage.told("response.output_item.added")
        if event["item"]["type"] == "message"
    }
    cut = {event["item_id"]: event["audio_end_ms"] for event in stage.sent("conversation.item.truncate")}
    deleted = [event["item_id"] for event in stage.sent("conversation.item.delete")]
    differences = []
    for item_id, response_id in items.items():
        heard = level_of(recording, answers.levels[response_id])
        if item_id in deleted:
            assert heard < MS, f"{heard} samples of a deleted item were heard"
        elif item_id in cut:
            differences.append(abs(cut[item_id] - heard / 24))
        else:
            assert heard > SECONDS * 24_000 - MS, f"only {heard} samples were heard, and nothing was said about it"
    said = [one.item_id for one in stage.said if one.role == "assistant" and one.final]
    assert said == [item_id for item_id in items if item_id in said]  # in order
    assert {item_id for item_id in items if item_id not in deleted} <= set(said)
    assert not stage.told("error")
    assert len(deleted) == len(set(deleted))
    assert len(cut) == len(stage.sent("conversation.item.truncate"))
    return differences


def interrupt(rounds: int, seed: int) -> None:
    luck, answers = random.Random(seed), Answers()
    with Stage(answers, speed=SPEED) as stage:
        trial = Trial(stage, answers, luck)
        for number in range(rounds):
            kind = KINDS[number % len(KINDS)]
            trial.question(kind)
            trial.moment(kind)
        trial.question("after")
        stage.wait_state(AgentState.SPEAKING, AgentState.LISTENING)

        differences = sorted(check(stage, answers))

    assert len(differences) > rounds // 3
    assert stage.agent.metrics.harmless == 0
    assert differences[int(len(differences) * 0.95)] <= 20
    assert differences[-1] <= 60


def test_twenty_random_moments() -> None:
    """Whatever the moment, the server learns what was heard."""
    interrupt(20, seed=7)


@pytest.mark.soak
@pytest.mark.timeout(580)
def test_two_hundred_random_moments() -> None:
    """The same, two hundred times."""
    interrupt(200, seed=11)


def test_silence_within_fifty_ms() -> None:
    """Playback stops within 50 ms of the key, and stays stopped."""
    answers = Answers()
    with Stage(answers, turn="push_to_talk") as stage:
        stage.agent.say("Tell me something.")
        stage.wait_state(AgentState.SPEAKING)
        item_id = stage.told("response.output_item.added")[0]["item"]["id"]

        with stage.agent.talk():
            time.sleep(0.05)
            heard = stage.speaker.heard(item_id).samples
            time.sleep(0.3)
            later = stage.speaker.heard(item_id).samples

    assert heard == later < SECONDS * 24_000


def test_late_audio_is_dropped() -> None:
    """Audio that comes for an answer which was cut off is not heard."""
    answers = Answers()
    with Stage(answers) as stage:
        stage.microphone.say(word())
        stage.wait_state(AgentState.SPEAKING)
        stage.microphone.say(word())
        stage.wait_state(AgentState.SPEAKING, AgentState.USER_SPEAKING)
        delta = stage.told("response.output_audio.delta")[0]
        stage.server.inject(Send({**delta, "event_id": "event_late"}))
        until(lambda: stage.agent.metrics.late > 0)
        stage.wait_state(AgentState.SPEAKING)

        assert stage.told("error") == []
    assert len({event["item_id"] for event in stage.sent("conversation.item.truncate")}) == 2


def test_two_items_one_heard() -> None:
    """Of two queued answers the one that is heard is truncated, and the one that has not begun is deleted."""
    answers = Answers()
    with Stage(answers, turn="push_to_talk") as stage:
        stage.agent.say("First.")
        stage.wait_state(AgentState.SPEAKING)
        until(lambda: stage.told("response.done"))
        stage.session.response.create()
        until(lambda: len(stage.told("response.done")) == 2)

        with stage.agent.talk():
            until(lambda: stage.sent("conversation.item.delete"))

    first, second, *_ = (event["item"]["id"] for event in stage.told("response.output_item.added"))
    assert [event["item_id"] for event in stage.sent("conversation.item.truncate")] == [first]
    assert [event["item_id"] for event in stage.sent("conversation.item.delete")] == [second]
    assert stage.errors == []


def test_the_mirror_keeps_what_was_heard() -> None:
    """After an interruption the conversation shows the heard part, and says that it is an estimate."""
    answers = Answers()
    with Stage(answers, turn=QUICK_VAD) as stage:
        stage.microphone.say(word())
        stage.wait_state(AgentState.SPEAKING)
        item_id = stage.told("response.output_item.added")[0]["item"]["id"]
        until(lambda: stage.speaker.heard(item_id).samples > 12_000)
        stage.microphone.say(word())
        stage.wait(lambda: any(said.interrupted and said.final for said in stage.said))

        item = stage.session.conversation[item_id]
        said = next(said for said in stage.said if said.interrupted and said.final)
    assert item.heard_estimate
    assert item.transcript == said.text
    assert said.estimate
    assert 0 < len(said.text) < len("some words of it ")
