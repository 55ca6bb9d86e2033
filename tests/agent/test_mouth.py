"""What is told of items that are cut off, for every case of protocol.md 4.8, and the order of utterances."""

from __future__ import annotations

import time

import pytest

from meshapi_rt import pcm
from meshapi_rt.agent import Utterance
from meshapi_rt.agent import utterances as room
from meshapi_rt.agent.metrics import AgentMetrics, TurnTiming
from meshapi_rt.agent.mouth import Cut, Mouth
from meshapi_rt.agent.utterances import Scribe
from meshapi_rt.devices.heard import Heard
from meshapi_rt.wire_format import FORMATS

PCM = FORMATS["audio/pcm"]


class Ledger:
    """A speaker that has played as much of each item as the test says."""

    def __init__(self) -> None:
        self.played: dict[str | None, int] = {}
        self.total: dict[str | None, int] = {}

    def write(self, audio: pcm.AudioLike, item_id: str | None = None, content_index: int = 0) -> None:
        assert content_index == 0
        self.total[item_id] = self.total.get(item_id, 0) + pcm.as_int16(audio).size

    def clear(self) -> list[Heard]:
        return [self.heard(item_id) for item_id in self.total]

    def heard(self, item_id: str | None, content_index: int = 0) -> Heard:
        samples, total = self.played.get(item_id, 0), self.total.get(item_id, 0)
        return Heard(item_id=item_id, content_index=content_index, samples=samples, total=total, began=None)


@pytest.mark.parametrize(
    ("received", "played", "done", "cuts"),
    [
        (0, 0, False, [Cut("a", 0, None)]),  # announced, and nothing has come
        (24_000, 0, False, [Cut("a", 0, None)]),  # nothing was heard
        (24_000, 23, True, [Cut("a", 0, None)]),  # less than a millisecond
        (24_000, 24, True, [Cut("a", 0, 1)]),
        (24_000, 12_011, False, [Cut("a", 0, 500)]),  # whole milliseconds, downwards
        (24_000, 12_011, True, [Cut("a", 0, 500)]),  # generation has ended long ago
        (24_000, 23_999, True, [Cut("a", 0, 999)]),
        (24_000, 24_000, True, []),  # everything was heard
        (24_000, 24_000, False, [Cut("a", 0, 1000)]),  # all that came, and more was to come
        (12_000, 24_000, False, [Cut("a", 0, 500)]),  # a speaker that boasts
    ],
)
def test_what_is_told(received: int, played: int, done: bool, cuts: list[Cut]) -> None:
    """The item ends at the sample that was heard, never beyond what has come."""
    sink = Ledger()
    mouth = Mouth(sink)
    mouth.announce("a", "response")
    if received:
        mouth.write(bytes(2 * received), PCM, item_id="a", content_index=0, response_id="response")
    sink.played["a"] = played
    if done:
        mouth.item_done("a")

    assert mouth.interrupt() == {"a": cuts}
    assert mouth.interrupt() == {}


def test_written_items_stay() -> None:
    """What is text is not cut, and not deleted."""
    mouth = Mouth(Ledger())
    mouth.announce("a", "response")
    mouth.text_comes("a")

    assert mouth.interrupt() == {"a": []}


def test_late_audio() -> None:
    """Audio and items of a response that was cut off go nowhere."""
    sink = Ledger()
    mouth = Mouth(sink)
    mouth.write(bytes(480), PCM, item_id="a", content_index=0, response_id="response")
    mouth.interrupt()
    mouth.write(bytes(480), PCM, item_id="a", content_index=0, response_id="response")

    assert sink.total == {"a": 240}
    assert mouth.late == 480
    assert mouth.announce("b", "response") is None
    assert not mouth.busy


def test_odd_deltas_and_telephone() -> None:
    """Deltas may end inside a sample; G.711 becomes 24 kHz for a speaker that takes nothing else."""
    sink = Ledger()
    mouth = Mouth(sink)
    for piece in (bytes(101), bytes(101), bytes(278)):
        mouth.write(piece, PCM, item_id="a", content_index=0, response_id="r")
    for _ in range(4):
        mouth.write(b"\xff" * 200, FORMATS["audio/pcmu"], item_id="b", content_index=0, response_id="r")
    mouth.response_done("r")

    assert sink.total == {"a": 240, "b": 2400}


def told_by(scribe_of: list[Utterance]) -> list[tuple[str, str, bool]]:
    return [(said.item_id, said.text, said.final) for said in scribe_of]


def test_utterances_wait_for_those_before() -> None:
    """An answer is told behind the question, whose transcript comes later."""
    told: list[Utterance] = []
    scribe = Scribe(told.append)
    scribe.begin("q", "user")
    scribe.expect("q")
    scribe.begin("a", "assistant")
    scribe.complete("a", "Fine.")
    scribe.end("a")
    assert not told
    scribe.add("q", "How ")
    scribe.complete("q", "How are you?")

    assert told_by(told) == [("q", "How ", False), ("q", "How are you?", True), ("a", "Fine.", True)]


def test_utterances_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transcript that does not come holds up nobody for long, and is told when it comes all the same."""
    monkeypatch.setattr(room, "_PATIENCE", 0.0)
    told: list[Utterance] = []
    scribe = Scribe(told.append)
    scribe.begin("q", "user")
    scribe.expect("q")
    scribe.begin("a", "assistant")
    scribe.complete("a", "Fine.")
    scribe.end("a")
    scribe.tick(time.monotonic())
    scribe.complete("q", "How are you?")

    assert [(item, text) for item, text, final in told_by(told) if final] == [("a", "Fine."), ("q", "How are you?")]


def test_an_utterance_that_was_not_heard_is_taken_back() -> None:
    """What was shown of an answer that nobody heard ends as an empty text."""
    told: list[Utterance] = []
    scribe = Scribe(told.append)
    scribe.begin("a", "assistant")
    scribe.add("a", "I think")
    scribe.drop("a")
    scribe.begin("b", "assistant")
    scribe.drop("b")

    assert told_by(told) == [("a", "I think", False), ("a", "", True)]
    assert told[-1].interrupted


def test_percentiles() -> None:
    """p50 and p95 are latencies that were measured, by nearest rank."""
    timings = [TurnTiming(latency=n / 100, server=0.0, own=0.0, item_id="") for n in range(1, 21)]
    metrics = AgentMetrics(turns=tuple(timings))

    assert (metrics.p50, metrics.p95) == (0.10, 0.19)
    assert (AgentMetrics().p50, AgentMetrics().p95) == (None, None)
