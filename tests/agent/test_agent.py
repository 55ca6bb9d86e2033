"""A voice agent in conversation with the local server: turns, states, transcripts, and what goes wrong around it."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from meshapi_rt import (
    ConfigurationError,
    ConnectionLost,
    DeviceError,
    RealtimeError,
    ReconnectPolicy,
    pcm,
)
from meshapi_rt.agent import AgentState, VoiceAgent
from meshapi_rt.devices import FileMicrophone, FileSpeaker
from meshapi_rt.devices.heard import Heard
from meshapi_rt.local import Audio, Fail, Faults, LocalServer, Send, Skip, Text, ToolCall, Turn

from ..clock import Stopwatch
from ..faces import environment, finish, likeness, start
from .stage import LIMIT, Stage, level_of, steady, until, word

LISTENING, USER, THINKING = AgentState.LISTENING, AgentState.USER_SPEAKING, AgentState.THINKING
SPEAKING, TOOL, STOPPED = AgentState.SPEAKING, AgentState.TOOL_RUNNING, AgentState.STOPPED


def short(_turn: Turn) -> Iterator[Audio]:
    """Answer with 0.3 s."""
    yield Audio(steady(5000, 0.3), "one two three")


def long(_turn: Turn) -> Iterator[Audio]:
    """Answer with 20 s."""
    yield Audio(steady(5000, 20.0), "a long story")


class Counting:
    """Answers with a level for each turn, and writes down speech by number."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.heard = 0

    def __call__(self, turn: Turn) -> Iterator[Audio]:
        self.turns.append(turn)
        yield Audio(steady(1000 * len(self.turns), 0.2), f"answer {len(self.turns)}")

    def transcribe(self, _audio: NDArray[np.int16]) -> str:
        self.heard += 1
        time.sleep(0.3)  # later than the answer
        return f"question {self.heard}"


# -- turns ---


def test_a_turn_and_its_states() -> None:
    """A spoken question is answered aloud, and the states tell of it in order."""
    with Stage(short) as stage:
        stage.microphone.say(word())
        stage.wait_state(LISTENING, USER, THINKING, SPEAKING, LISTENING)
        recording = stage.speaker.audio

    assert stage.states == [LISTENING, USER, THINKING, SPEAKING, LISTENING, STOPPED]
    assert level_of(recording, 5000) > 7100
    assert stage.agent.state is STOPPED


def test_transcripts_in_order() -> None:
    """Transcripts of both sides come in the order of the conversation, though the user's are known last."""
    with Stage(Counting()) as stage:
        for number in (1, 2):
            stage.microphone.say(word())
            stage.wait_said(2 * number)

    assert stage.final == [
        ("user", "question 1"),
        ("assistant", "answer 1"),
        ("user", "question 2"),
        ("assistant", "answer 2"),
    ]


def test_the_end_of_a_recording() -> None:
    """With a recording as microphone, run() ends when the answer was heard."""
    microphone = FileMicrophone(word(), tail=0.5)
    with LocalServer(responder=short) as server, server.client() as client, FileSpeaker() as speaker:
        agent = VoiceAgent(client, microphone=microphone, speaker=speaker, linger=0.3)
        agent.run(timeout=LIMIT)
        heard = level_of(speaker.audio, 5000)

        assert heard > 7100
        assert agent.session is not None
        assert agent.session.closed  # it was opened for the agent
    microphone.close()


def test_typed_text_cuts_off_and_is_answered() -> None:
    """What is typed is answered aloud, and cuts off an answer that is heard."""
    with Stage(Counting()) as stage:
        stage.agent.say("Hello.")
        stage.wait_state(SPEAKING)
        stage.agent.say("And again.")
        stage.wait_state(SPEAKING, THINKING, SPEAKING, LISTENING)

    assert [role for role, _ in stage.final] == ["user", "assistant", "user", "assistant"]
    assert [text for role, text in stage.final if role == "user"] == ["Hello.", "And again."]
    assert [said.interrupted for said in stage.said if said.final] == [False, True, False, False]
    assert len(stage.sent("conversation.item.truncate")) == 1
    # Its making may have ended just before it was cancelled.
    assert {event["error"]["code"] for event in stage.told("error")} <= {"response_cancel_not_active"}


def test_semantic_turns() -> None:
    """Semantic voice detection is asked for, and works the same."""
    with Stage(short, turn="semantic_vad") as stage:
        stage.microphone.say(word())
        stage.wait_state(USER, THINKING, SPEAKING, LISTENING)
        detection = stage.session.settings["audio"]["input"]["turn_detection"]

    assert detection["type"] == "semantic_vad"


def test_speech_that_does_not_interrupt() -> None:
    """With interrupt_response off an answer goes on while the user speaks."""
    turn = {"type": "server_vad", "silence_duration_ms": 200, "interrupt_response": False, "create_response": False}
    with Stage(long, turn=turn) as stage:
        stage.agent.say("Tell me.")
        stage.wait_state(SPEAKING)
        stage.microphone.say(word())
        stage.wait_state(SPEAKING, USER, SPEAKING)

        assert stage.sent("conversation.item.truncate", "conversation.item.delete") == []


# -- push to talk ---


def test_push_to_talk_with_preroll() -> None:
    """The turn begins 300 ms before the key goes down, ends where it goes up, and is answered."""
    answers = Counting()
    speech = word(3.0)
    with Stage(answers, turn="push_to_talk", microphone=FileMicrophone(speech, tail=math.inf)) as stage:
        with Stopwatch() as before:
            time.sleep(0.6)
        with Stopwatch() as held, stage.agent.talk():
            time.sleep(0.5)
        stage.wait_state(USER, THINKING, SPEAKING, LISTENING)

    heard = answers.turns[0].audio
    assert heard is not None
    assert held.elapsed + 0.25 < pcm.duration(heard) < held.elapsed + 0.7
    at = int(np.argmax([likeness(heard[:4800], speech[start : start + 4800]) for start in range(0, 60_000, 480)])) * 480
    assert before.elapsed - 0.45 < at / 24_000 < before.elapsed - 0.15
    assert likeness(heard, speech) > 0.4
    assert stage.told("error") == []


def test_a_tap_is_no_turn() -> None:
    """Less than 100 ms is dropped, and nothing is asked."""
    with Stage(short, turn="push_to_talk", preroll_ms=0) as stage, stage.agent.talk():
        pass

    assert stage.sent("input_audio_buffer.commit", "response.create") == []


def test_key_during_an_answer() -> None:
    """The key cancels the answer under way, also one that has not begun; the new turn is answered after it."""
    began = threading.Event()

    def slow(turn: Turn) -> Iterator[Any]:
        first = not began.is_set()
        began.set()
        yield Audio(steady(3000, 0.1), "so")
        if first:
            turn.cancelled.wait(LIMIT)
        yield Audio(steady(3000, 0.1), "so")

    with Stage(slow, turn="push_to_talk") as stage:
        stage.agent.say("Think.")
        began.wait(LIMIT)
        with stage.agent.talk():
            time.sleep(0.3)
        stage.wait_state(SPEAKING, LISTENING)

    statuses = [event["response"]["status"] for event in stage.told("response.done")]
    assert statuses == ["cancelled", "completed"]
    assert stage.told("error") == []


def test_a_response_of_somebody_else() -> None:
    """Where the server is busy with a response that it did not tell of, the answer is asked for again."""

    def slow(_turn: Turn) -> Iterator[Any]:
        until(lambda: stage.told("error"))  # the refusal of what the agent asks for meanwhile
        yield Audio(steady(3000, 0.1), "so")

    faults = Faults(Skip(on="response.created", times=1))
    with Stage(slow, server={"faults": faults}) as stage:
        stage.session.response.create()
        until(lambda: stage.sent("response.create"))
        stage.agent.say("And now I.")
        until(lambda: len(stage.told("response.done")) == 2)
        stage.wait_state(SPEAKING, LISTENING)

    assert [event["error"]["code"] for event in stage.told("error")]
    assert stage.errors == []


def test_key_and_turns_by_voice_exclude_each_other() -> None:
    """talk() says what it needs."""
    with Stage(short) as stage:
        with pytest.raises(ConfigurationError, match="push_to_talk"):
            with stage.agent.talk():
                pass
        with pytest.raises(ConfigurationError, match="typed"):
            stage.agent.say("  ")


# -- tools ---


def test_tools_run_and_are_told() -> None:
    """A function runs while nothing is heard, and its output is spoken."""
    release = threading.Event()

    def weather(city: str) -> str:
        """Tell the weather."""
        release.wait(LIMIT)
        return f"rain in {city}"

    def responder(turn: Turn) -> Iterator[Any]:
        if turn.outputs:
            yield Text(turn.outputs[0].output or "")
        else:
            yield ToolCall("weather", {"city": "Bonn"})

    with Stage(responder, tools=[weather]) as stage:
        stage.agent.say("How is the weather?")
        stage.wait_state(THINKING, TOOL)
        release.set()
        stage.wait_state(TOOL, THINKING, SPEAKING, LISTENING)

    assert stage.final[-1] == ("assistant", "rain in Bonn")


def test_a_tool_that_hangs() -> None:
    """A function that never returns holds up neither the next question nor the end."""
    hung, release = threading.Event(), threading.Event()

    def hang() -> str:
        """Hang."""
        hung.set()
        release.wait(60)
        return ""

    def responder(turn: Turn) -> Iterator[Any]:
        yield ToolCall("hang") if "hang" in turn.text else Audio(steady(4000, 0.2), "Here I am.")

    try:
        with Stage(responder, tools=[hang]) as stage:
            stage.agent.say("Please hang.")
            assert hung.wait(LIMIT)
            stage.wait_state(TOOL)
            stage.agent.say("Still there?")
            stage.wait_state(SPEAKING, TOOL)
            with Stopwatch() as watch:
                stage.agent.stop()
            assert watch.took < 2
    finally:
        release.set()


# -- what goes wrong ---


def test_reconnect_in_mid_answer() -> None:
    """When the connection breaks while an answer sounds, what came is heard, and the next turn works."""
    answers = Counting()
    policy = ReconnectPolicy(delay=0.01, max_delay=0.05)
    with Stage(answers, connect={"reconnect": policy}) as stage:
        stage.agent.say("One.")
        stage.wait_state(SPEAKING)
        stage.server.drop()
        stage.wait_state(SPEAKING, LISTENING)
        until(lambda: stage.agent.metrics.reconnects == 1)
        stage.microphone.say(word())
        stage.wait_state(USER, THINKING, SPEAKING, LISTENING)
        recording = stage.speaker.audio

    assert level_of(recording, 1000) > 4700
    assert level_of(recording, 2000) > 4700
    assert stage.errors == []


def test_reconnect_before_the_answer() -> None:
    """A question whose answer had not begun is asked again on the next connection."""
    began = threading.Event()

    def responder(turn: Turn) -> Iterator[Any]:
        if not began.is_set():
            began.set()
            turn.cancelled.wait(LIMIT)
        else:
            yield Audio(steady(4000, 0.2), "Here.")

    with Stage(responder, connect={"reconnect": ReconnectPolicy(delay=0.01)}) as stage:
        stage.agent.say("One.")
        assert began.wait(LIMIT)
        stage.server.drop()
        stage.wait_state(SPEAKING, LISTENING)

    assert stage.final == [("user", "One."), ("assistant", "Here.")]


def test_the_session_ends() -> None:
    """A connection that is lost ends the agent with that error; a close ends it quietly."""
    with Stage(short) as stage:
        stage.server.drop()
        with pytest.raises(ConnectionLost):
            stage.agent.wait(LIMIT)
    with Stage(short) as stage:
        stage.session.close()
        stage.agent.wait(LIMIT)
        assert stage.agent.state is STOPPED


class Broken(FileMicrophone):
    """Works until it is unplugged."""

    def __init__(self) -> None:
        super().__init__(None, tail=math.inf)
        self.unplugged = threading.Event()

    def read(self, timeout: float | None = None, cancel: threading.Event | None = None) -> bytes:
        if self.unplugged.is_set():
            raise DeviceError("it was unplugged")
        return super().read(timeout, cancel)


def test_a_microphone_that_breaks() -> None:
    """The agent tells, lives on, and goes on with another microphone."""
    broken = Broken()
    with Stage(short, microphone=broken) as stage, FileMicrophone(word(), tail=math.inf) as other:
        broken.unplugged.set()
        stage.wait(lambda: stage.errors)
        assert isinstance(stage.errors[0], DeviceError)
        stage.agent.say("Can you hear me?")
        stage.wait_state(SPEAKING, LISTENING)
        stage.agent.replace(microphone=other)
        stage.wait_state(USER, THINKING, SPEAKING, LISTENING)


def test_a_microphone_that_breaks_unheard() -> None:
    """Without on_error run() raises what broke, and the session lives."""
    broken = Broken()
    broken.unplugged.set()
    with Stage(short, microphone=broken, hear_errors=False) as stage:
        with pytest.raises(DeviceError, match="unplugged"):
            stage.agent.wait(LIMIT)
        assert not stage.session.closed


def test_a_speaker_that_breaks() -> None:
    """What was not heard is told to the server; the agent goes on with another speaker."""
    with Stage(long) as stage, FileSpeaker() as other:
        stage.agent.say("Tell me.")
        stage.wait_state(SPEAKING)
        stage.speaker.close()
        stage.wait(lambda: stage.errors)
        until(lambda: stage.sent("conversation.item.truncate"))
        stage.agent.replace(speaker=other)
        stage.agent.say("Again.")
        stage.wait_state(SPEAKING)
        until(lambda: other.playing)

    assert isinstance(stage.errors[0], DeviceError)
    assert stage.told("error") == []


def test_a_response_that_fails() -> None:
    """A response that failed is told, and the agent listens again."""

    def responder(_turn: Turn) -> Iterator[Any]:
        yield Fail("overloaded", "Too much.")

    with Stage(responder) as stage:
        stage.agent.say("Hello?")
        stage.wait(lambda: stage.errors)
        stage.wait_state(THINKING, LISTENING)

    assert isinstance(stage.errors[0], RealtimeError)
    assert stage.errors[0].code == "overloaded"


def test_harmless_refusals_are_counted() -> None:
    """A race that the protocol expects is swallowed and counted; any other refusal is told."""
    harmless = {"type": "invalid_request_error", "code": None, "param": None, "event_id": None}
    message = "Audio content of 3700ms is already shorter than 3760ms"
    with Stage(short) as stage:
        stage.server.inject(Send({"type": "error", "error": {**harmless, "message": message}}))
        stage.server.inject(Send({"type": "error", "error": {**harmless, "message": "Something else."}}))
        stage.wait(lambda: stage.errors)

        assert [str(error.args[1]) for error in stage.errors] == ["Something else."]
        assert stage.agent.metrics.harmless == 1


# -- formats and devices ---


@pytest.mark.parametrize("wire", ["pcmu", "pcma"])
def test_telephone_audio(wire: str) -> None:
    """A G.711 session sounds the same: microphone and speaker are converted, and truncations count in its time."""
    answers = Counting()
    with Stage(answers) as stage:
        stage.agent.stop()
        stage.session.update(input_format=wire, output_format=wire)
        agent = VoiceAgent(
            stage.session, microphone=stage.microphone, speaker=stage.speaker, on_state=stage.states.append
        )
        with agent:
            stage.microphone.say(speech := word(0.6))
            until(lambda: len(agent.metrics.turns) == 1)
            until(lambda: not stage.speaker.playing)
            recording = stage.speaker.audio

    heard = answers.turns[0].audio
    assert heard is not None
    assert likeness(heard, speech) > 0.9
    assert 4000 < int((np.abs(recording.astype(np.int32)) > 800).sum()) < 5500


class Plain:
    """A speaker with the methods of the protocol, and no more; time is the test's."""

    def __init__(self) -> None:
        self.written: dict[str | None, int] = {}
        self.heard_so_far = 0
        self.cleared = 0

    def write(self, audio: pcm.AudioLike, item_id: str | None = None, content_index: int = 0) -> None:
        assert content_index == 0
        self.written[item_id] = self.written.get(item_id, 0) + pcm.as_int16(audio).size

    def clear(self) -> tuple[Heard, ...]:
        self.cleared += 1
        return ()

    def heard(self, item_id: str | None, content_index: int = 0) -> Heard:
        total = self.written.get(item_id, 0)
        samples = min(self.heard_so_far, total)
        return Heard(item_id=item_id, content_index=content_index, samples=samples, total=total, began=None)

    def close(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize("wire", ["pcm", "pcmu"])
def test_any_object_serves_as_speaker(wire: str) -> None:
    """A speaker needs three methods; audio reaches it whole, and at 24 kHz whatever the wire has."""
    speaker = Plain()
    with Stage(short, speaker=speaker) as stage:
        stage.session.update(output_format=wire)
        stage.agent.say("Hello.")
        until(lambda: sum(speaker.written.values()) == 7200)
        speaker.heard_so_far = 2400
        stage.wait_state(SPEAKING)
        stage.agent.say("Stop.")
        until(lambda: stage.sent("conversation.item.truncate"))

    assert stage.sent("conversation.item.truncate")[0]["audio_end_ms"] == 100
    assert speaker.cleared >= 1


def test_an_echo_gate_needs_to_know_what_is_played() -> None:
    """A speaker that cannot tell is refused, with the remedy."""
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        with FileMicrophone() as microphone:
            agent = VoiceAgent(session, microphone=microphone, speaker=Plain(), echo_gate=True)
            with pytest.raises(ConfigurationError, match="echo_gate=False"):
                agent.start()


# -- measuring ---


def test_metrics() -> None:
    """Latency is the time from the end of speech to the first audio heard, and its parts add up."""

    def slow(turn: Turn) -> Iterator[Any]:
        turn.cancelled.wait(0.3)
        yield Audio(steady(4000, 0.2), "Yes.")

    with Stage(slow) as stage:
        with Stopwatch() as watch:
            for _ in range(2):
                stage.microphone.say(word())
                stage.wait_state(THINKING, SPEAKING, LISTENING)
                stage.states.clear()
        metrics = stage.agent.metrics

    for turn in metrics.turns:
        assert turn.latency == pytest.approx(turn.server + turn.own)
        assert turn.latency > 0.45  # 0.2 s of silence, and 0.3 s
        assert turn.latency - watch.stood_still < 1.2
        assert turn.own - watch.stood_still < 0.15
    assert metrics.p50 is not None
    assert metrics.p95 is not None
    assert metrics.p50 <= metrics.p95
    assert "2 answers" in str(metrics)


# -- the end ---


def test_stop_from_a_callback_and_twice() -> None:
    """stop() may be called by any thread, callbacks too, and again; what was heard is told to the server."""
    with Stage(long) as stage:
        stage.agent.say("Tell me.")
        stage.wait_state(SPEAKING)
        time.sleep(0.1)
        stopper = threading.Thread(target=stage.agent.stop)
        stopper.start()
        stage.agent.wait(LIMIT)
        stopper.join(LIMIT)
        stage.agent.stop()

        assert not stopper.is_alive()
        assert len(stage.sent("conversation.item.truncate")) == 1
        assert not stage.session.closed

    agents: list[VoiceAgent] = []
    with LocalServer(responder=short) as server, server.client().realtime.connect(model="m") as session:
        with FileMicrophone(None, tail=math.inf) as microphone, FileSpeaker() as speaker:
            agents.append(
                VoiceAgent(session, microphone=microphone, speaker=speaker, on_state=lambda _: agents[0].stop())
            )
            agents[0].run(timeout=LIMIT)
    assert agents[0].state is STOPPED


def test_a_callback_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a callback goes to the log, and the agent goes on."""
    with Stage(short) as stage:
        stage.agent.stop()

        def fail(_: object) -> None:
            raise RuntimeError("on purpose")

        with VoiceAgent(stage.session, microphone=stage.microphone, speaker=stage.speaker, on_state=fail) as agent:
            agent.say("Hello.")
            until(lambda: len(agent.metrics.turns) == 1)
    assert "on purpose" in caplog.text


def test_runs_once() -> None:
    """A second start is refused; nothing can be said to an agent that does not run."""
    with Stage(short) as stage, pytest.raises(ConfigurationError, match="once"):
        stage.agent.start()
    with pytest.raises(ConfigurationError, match="not running"):
        stage.agent.say("Hello?")


@pytest.mark.parametrize("turn", ["always", {"type": "none"}, None])
def test_turns_that_there_are_not(turn: Any) -> None:
    """A kind of turn that does not exist is refused at once."""
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        with FileMicrophone() as microphone, FileSpeaker() as speaker:
            with pytest.raises(ConfigurationError, match="turn must be"):
                VoiceAgent(session, microphone=microphone, speaker=speaker, turn=turn)


PROGRAM = """
import math
from meshapi_rt.agent import VoiceAgent
from meshapi_rt.devices import FileMicrophone, FileSpeaker
from meshapi_rt.local import LocalServer

with LocalServer() as server, server.client() as client:
    with FileMicrophone(tail=math.inf) as microphone, FileSpeaker() as speaker:
        show = lambda state: print(state.value, flush=True)
        VoiceAgent(client, microphone=microphone, speaker=speaker, on_state=show).run()
        print("the end", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to another process there")
def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C ends run() within a second, without a traceback."""
    program = start([sys.executable, "-c", PROGRAM], environment(), tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "listening\n"
    with Stopwatch() as watch:
        program.send_signal(signal.SIGINT)
        code, out, err = finish(program)

    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "the end"
    assert watch.took < 3
