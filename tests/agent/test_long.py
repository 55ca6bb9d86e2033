"""Ten minutes of conversation: clocks that agree, latencies that stay, nothing lost, and no memory that grows."""

from __future__ import annotations

import logging
import statistics
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from meshapi_rt.agent import AgentState
from meshapi_rt.agent.metrics import AgentMetrics
from meshapi_rt.devices import BaseMicrophone, BaseSpeaker, FileSpeaker
from meshapi_rt.local import Audio, Turn

from ..devices.card import Card
from ..devices.signals import speech
from .booth import RATE, booth, runs
from .stage import Stage, until, word

LIMIT = 30.0
ANSWER = 1.2  # seconds
BLOCK = 0.02
PER_TURN = 4_000  # bytes that a turn may leave behind: two items of the conversation's mirror, and a timing
AT_WORK = 600_000  # bytes by which two looks may differ: some seconds of audio on their way
OURS = [tracemalloc.Filter(True, "*/meshapi_rt/*"), tracemalloc.Filter(False, "*/meshapi_rt/local/*")]


def short(_turn: Turn) -> Iterator[Audio]:
    """Answer."""
    yield Audio(speech(ANSWER, seed=4), "some words of an answer")


class Count:
    """Counts what is sent, and forgets it: a transcript of ten minutes would be the growth that is looked for."""

    def __init__(self, stage: Stage) -> None:
        self.seconds = 0.0
        self._plain = stage.session.send_audio
        stage.session.send_audio = self.send_audio  # type: ignore[method-assign, assignment]

    def send_audio(self, block: bytes) -> None:
        self._plain(block)
        self.seconds += len(block) / 48_000


@attrs.define
class Diary:
    """What was looked at between the turns."""

    drift: list[float] = attrs.field(factory=list)  # seconds of the microphone's clock that were not sent
    memory: list[tuple[int, tracemalloc.Snapshot]] = attrs.field(factory=list)  # behind so many turns
    turns: int = 0
    metrics: AgentMetrics = attrs.field(factory=AgentMetrics)

    def figures(self) -> tuple[list[float], list[float], list[float]]:
        """Return drift, latency and our own share of it, turn by turn."""
        turns = self.metrics.turns
        return self.drift, [turn.latency for turn in turns], [turn.own for turn in turns]


def converse(stage: Stage, say: Callable[[NDArray[np.int16]], object], minutes: float, speed: float = 1.0) -> Diary:
    """Ask and listen, over and over, for so long by the microphone's clock; look around after each turn."""
    diary, microphone = Diary(), stage.microphone
    assert isinstance(microphone, BaseMicrophone)
    sent = Count(stage)
    until(lambda: sent.seconds > 0)
    first, before = microphone.captured_at, sent.seconds
    while (heard := (microphone.captured_at - first) * speed) < minutes * 60:
        diary.drift.append(heard - (sent.seconds - before))
        if heard > minutes * 60 * (1 + len(diary.memory)) / 4:
            diary.memory.append((diary.turns, held()))
        say(word(0.3, seed=diary.turns % 9))
        diary.turns += 1
        until(lambda: len(stage.agent.metrics.turns) == diary.turns, LIMIT)
        until(lambda: stage.agent.state is AgentState.LISTENING, LIMIT)
        stage.states.clear()
        stage.said.clear()
        prune(stage)
    diary.metrics = stage.agent.metrics
    return diary


def prune(stage: Stage) -> None:
    """Delete old items: the local server copies the whole conversation for each answer, which takes ever longer."""
    for item in stage.session.conversation.items[:-6]:
        stage.session.send({"type": "conversation.item.delete", "item_id": item.id})


def held() -> tracemalloc.Snapshot:
    """Return what the package holds, without the server."""
    return tracemalloc.take_snapshot().filter_traces(OURS)


def check(diary: Diary, stage: Stage, minutes: float, *, idle: bool = True) -> None:
    """Compare the end with the beginning; what an answer takes only where nothing else runs."""
    speaker, third = stage.speaker, len(diary.drift) // 3
    assert isinstance(speaker, BaseSpeaker)
    early, late = (
        [statistics.median(figures[part]) for figures in diary.figures()]
        for part in (slice(third), slice(-third, None))
    )
    (turns, before), (last_turns, after) = diary.memory[0], diary.memory[-1]
    grown, more = after.compare_to(before, "lineno"), last_turns - turns
    growth = sum(line.size_diff for line in grown)
    lines = [
        f"{minutes:g} min, {diary.turns} turns, medians of the first and the last third in ms:",
        f"drift {1000 * early[0]:.1f} -> {1000 * late[0]:.1f}, at most {1000 * max(map(abs, diary.drift)):.1f}",
        f"latency {1000 * early[1]:.0f} -> {1000 * late[1]:.0f}; our own {1000 * early[2]:.1f} -> {1000 * late[2]:.1f}",
        f"underruns {speaker.underruns}, overruns {stage.microphone.overruns}, {growth / 1000:+.0f} kB in {more} turns",
    ]
    print("\n" + "\n".join([*lines, *map(str, grown[:3])]))
    assert max(map(abs, diary.drift)) < 0.1
    assert abs(late[0] - early[0]) < 1.5 * BLOCK  # both are whole blocks: one more or less is the moment of looking
    assert not idle or late[1] < early[1] + 0.03
    assert not idle or late[2] < early[2] + 0.02
    assert (diary.metrics.interruptions, diary.metrics.reconnects) == (0, 0)
    assert (speaker.underruns, stage.microphone.overruns) == (0, 0)
    assert stage.errors == []
    assert growth < AT_WORK + PER_TURN * more


@pytest.fixture
def traced() -> Iterator[None]:
    """Watch what memory is held; the log's is not ours: here every record is kept to the end of the test."""
    log = logging.getLogger("meshapi_rt")
    level = log.level
    log.setLevel(logging.WARNING)
    tracemalloc.start()
    yield
    tracemalloc.stop()
    log.setLevel(level)


QUIET = {"record": False}  # a transcript of ten minutes is no small thing


def on_recordings(place: Path, minutes: float, speed: float, *, idle: bool) -> None:
    with FileSpeaker(place / "answers.wav", speed=speed) as speaker:
        with Stage(short, speed=speed, speaker=speaker, server=QUIET) as stage:
            diary = converse(stage, stage.microphone.say, minutes, speed)
            check(diary, stage, minutes, idle=idle)


def test_on_recordings(traced: None, tmp_path: Path) -> None:
    """A sample: a quarter of a minute, twice as fast as life."""
    on_recordings(tmp_path, 0.25, 2, idle=False)


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_ten_minutes_on_recordings(traced: None, tmp_path: Path) -> None:
    """Four times as fast as life."""
    on_recordings(tmp_path, 10.0, 4, idle=True)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ten_minutes_on_a_card(traced: None, card: Card) -> None:
    """In real time, through microphone and speaker; every answer is heard whole."""
    minutes = 10.0
    with booth(card, short, server=QUIET) as place:
        diary = converse(place.stage, place.say, minutes)
        check(diary, place.stage, minutes)
        lengths = [(end - begin) / RATE for begin, end in runs(place.heard.settle())]

    assert len(lengths) == diary.turns
    off = sorted(abs(length - ANSWER) for length in lengths)
    assert off[round(len(off) * 0.99) - 1] < 0.02, off[-10:]  # a sound server may come too late once in ten minutes
