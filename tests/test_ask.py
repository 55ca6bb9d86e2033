"""ask(): every kind of question, whatever the session is set to, and whatever goes on beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshapi_rt import (
    AudioFileError,
    Cancelled,
    ConfigurationError,
    ConnectionLost,
    RealtimeError,
    RealtimeSession,
    ReconnectPolicy,
    Reply,
    SessionClosed,
    TimedOut,
    audio_files,
    pcm,
)
from meshapi_rt.local import (
    Audio,
    Delay,
    Drop,
    ExtraFields,
    Fail,
    Faults,
    LateDeltas,
    LocalServer,
    NoEcho,
    Skip,
    ToolCall,
    Turn,
)
from meshapi_rt.local.faults import Fault

from .conftest import client_of
from .faces import QUESTION, likeness
from .peers import LIMIT, Line, peer
from .test_close import in_thread
from .test_commands import TONE, png

QUICK = ReconnectPolicy(delay=0.01, max_delay=0.05)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A parrot."""
    with LocalServer() as running:
        yield running


@pytest.fixture
def session(server: LocalServer) -> Iterator[RealtimeSession]:
    """A session with the settings of the server: voice detection on, spoken answers."""
    with server.client().realtime.connect(model="m") as opened:
        yield opened


class Patient:
    """Answers with a word, and then waits until it is told to go on, or cancelled."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.cancelled = threading.Semaphore(0)

    def __call__(self, turn: Turn) -> Iterator[str]:
        if turn.text != "wait":
            yield turn.text
            return
        try:
            yield "begun "
            self.asked.release()
            while not self.go_on.wait(0.01):
                if turn.cancelled.is_set():
                    return
            yield "done"
        finally:  # it may be cancelled at its first word, before it is asked for more
            if turn.cancelled.is_set():
                self.cancelled.release()


# -- questions and answers ---


def test_text_is_answered_by_speech(session: RealtimeSession) -> None:
    """With its transcript, and everything that is known of it."""
    reply = session.ask("one two three")

    assert reply.transcript == str(reply) == "one two three"
    assert reply.text == ""
    assert reply.audio.dtype == np.int16
    assert not reply.audio.flags.writeable
    assert reply.duration == pytest.approx(0.6)
    assert reply.ok
    assert reply.error is None
    assert reply.status_details is None
    assert [item["role"] for item in reply.items] == ["assistant"]
    assert reply.response_id.startswith("resp_")
    assert reply.usage.responses == 1
    assert reply.usage.total_tokens > 0
    assert reply.timings.first_text is not None
    assert reply.timings.first_audio is not None
    assert 0 < reply.timings.first_text <= reply.timings.total
    assert reply.timings.waited >= 0
    assert "one two three" in repr(reply)


def test_text_is_answered_by_text(session: RealtimeSession) -> None:
    """Where the session, or the call, asks for that."""
    reply = session.ask("hello", output_modalities="text")

    assert (reply.text, reply.transcript, reply.duration) == ("hello", "", 0.0)
    assert reply.timings.first_audio is None
    with pytest.raises(AudioFileError, match="output_modalities"):
        reply.save("never.wav")


@pytest.mark.parametrize("turn_detection", ["server_vad", "semantic_vad", None])
def test_speech_is_answered_once_whatever_detects_turns(
    server: LocalServer, session: RealtimeSession, turn_detection: str | None, tmp_path: Path
) -> None:
    """As file, array, floats or bytes; the parrot gives the samples back."""
    session.update(turn_detection=turn_detection)
    samples = audio_files.read(QUESTION)
    for question in (QUESTION, samples, pcm.to_float(samples), samples.tobytes()):
        reply = session.ask(question)
        assert np.array_equal(reply.audio, samples)

    reply.save(tmp_path / "answer.wav")

    assert np.array_equal(audio_files.read(tmp_path / "answer.wav"), samples)
    assert [item.role for item in server.sessions[0].items] == ["user", "assistant"] * 4


def test_speech_at_another_rate(session: RealtimeSession) -> None:
    """Is converted on the way in."""
    pytest.importorskip("soxr")
    reply = session.ask(TONE[::3].copy(), rate=8000)
    assert reply.audio.size == TONE.size


def test_several_inputs_make_one_message(server: LocalServer, session: RealtimeSession) -> None:
    """Text, audio and images, in this order."""
    reply = session.ask("what is this?", TONE, image=[png(), png()], image_detail="low")

    (asked, _) = server.sessions[0].items
    assert reply.transcript == "what is this?"
    assert asked.audio is not None
    assert np.array_equal(asked.audio, TONE)
    content = session.conversation.item.retrieve(asked.id)["content"]
    assert [part["type"] for part in content] == ["input_text", "input_audio", "input_image", "input_image"]
    assert content[3]["detail"] == "low"


def test_no_input_answers_the_conversation(session: RealtimeSession) -> None:
    """As it is."""
    session.conversation.item.create_user_message("said before")
    assert session.ask().transcript == "said before"


def test_very_long_audio_takes_several_items(server: LocalServer, session: RealtimeSession) -> None:
    """As an event holds 15 MiB at most (protocol.md 1.5)."""
    session.update(output_modalities="text")
    session.ask("how long?", np.zeros(320 * pcm.SAMPLE_RATE, np.int16))
    seconds = [0.0 if item.audio is None else pcm.duration(item.audio) for item in server.sessions[0].items]
    assert seconds == [300.0, 20.0, 0.0]


def test_options_are_for_one_answer() -> None:
    """They reach the responder, and the session stays as it was."""
    seen: list[Turn] = []

    def look(turn: Turn) -> str:
        seen.append(turn)
        return "ok"

    with LocalServer(responder=look) as server, server.client().realtime.connect(model="m") as session:
        session.ask("a", instructions="be brief", output_modalities="text", metadata={"topic": "x"}, voice="ash")
        session.ask("b")
    assert (seen[0].instructions, seen[0].modality, seen[0].voice) == ("be brief", "text", "ash")
    assert seen[0].metadata is not None
    assert seen[0].metadata["topic"] == "x"
    assert (seen[1].modality, seen[1].voice) == ("audio", "alloy")


def test_sixteen_pairs_of_metadata_leave_no_room_for_ours(session: RealtimeSession) -> None:
    """The response is known by its own pairs then."""
    reply = session.ask("hi", metadata={str(number): "x" for number in range(16)})
    assert reply.transcript == "hi"


def test_calls_of_functions_are_listed() -> None:
    """With their arguments as the model wrote them."""

    def responder(_: Turn) -> Iterator[Any]:
        yield "let me see"
        yield ToolCall("look_up", {"city": "Paris"}, "call_1")

    with LocalServer(responder=responder) as server, server.client().realtime.connect(model="m") as session:
        reply = session.ask("weather?")
    (call,) = reply.tool_calls
    assert (call.name, call.arguments, call.call_id) == ("look_up", '{"city": "Paris"}', "call_1")
    assert call.response_id == reply.response_id
    assert reply.transcript == "let me see"
    assert [item["type"] for item in reply.items] == ["message", "function_call"]


@pytest.mark.parametrize("wire_format", ["pcmu", "pcma"])
def test_g711_sessions_give_24_khz(session: RealtimeSession, wire_format: str) -> None:
    """Whole and in pieces, in both directions."""
    pytest.importorskip("soxr")
    session.update(input_format=wire_format, output_format=wire_format)

    reply = session.ask(QUESTION)
    pieces = [piece for piece in session.ask_stream(QUESTION) if isinstance(piece, np.ndarray)]

    question = audio_files.read(QUESTION)
    assert abs(reply.audio.size - question.size) <= 3
    assert likeness(reply.audio, question) > 0.95
    assert np.array_equal(np.concatenate(pieces), reply.audio)


# -- answers that are not complete ---


def test_a_failed_answer() -> None:
    """Is a reply that says why, and an exception to raise."""
    with LocalServer(responder=lambda _: [Fail("overloaded", "too much")]) as server:
        with server.client().realtime.connect(model="m") as session:
            reply = session.ask("hi")
    assert (reply.status, reply.ok) == ("failed", False)
    assert reply.error is not None
    assert (reply.error.code, reply.error.message) == ("overloaded", "too much")


def test_an_incomplete_answer(session: RealtimeSession) -> None:
    """Has what came, and the reason."""
    reply = session.ask("one two three four five six", max_output_tokens=5)
    assert reply.status == "incomplete"
    assert reply.status_details is not None
    assert reply.status_details["reason"] == "max_output_tokens"
    assert "one two three four five six".startswith(reply.transcript)


def test_an_answer_that_somebody_cancels() -> None:
    """Is a reply too: it was not the call that gave up."""
    patient = Patient()
    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        replies: list[Reply] = []
        thread, failures = in_thread(lambda: replies.append(session.ask("wait", timeout=LIMIT)))
        assert patient.asked.acquire(timeout=LIMIT)
        ended = session.response.cancel(wait=True, timeout=LIMIT)
        thread.join(LIMIT)
    assert not failures
    assert ended is not None
    assert (replies[0].response_id, replies[0].status) == (ended["id"], "cancelled")
    assert replies[0].transcript == "begun "


# -- what is wrong with the question ---


def test_a_refused_question_raises_at_once(session: RealtimeSession) -> None:
    """And nowhere else; the session goes on."""
    session.receive(timeout=LIMIT)
    with pytest.raises(RealtimeError) as caught:
        session.ask("hi", max_output_tokens=0)
    assert caught.value.param == "response.max_output_tokens"
    assert session.ask("hi").transcript == "hi"
    assert session.stats.unread_messages == 0


def test_a_refused_item_cancels_its_answer() -> None:
    """The response that was asked for with it is not wanted any more (protocol.md 4.9)."""
    cancelled: list[Any] = []

    def script(line: Line) -> None:
        line.greet()
        item, asked = line.read_event(), line.read_event()
        error = {
            "type": "invalid_request_error",
            "code": "invalid_value",
            "message": "no",
            "event_id": item["event_id"],
        }
        response = {"id": "resp_1", "conversation_id": "conv_1", "metadata": asked["response"]["metadata"]}
        line.send({"type": "error", "error": error}, {"type": "response.created", "response": response})
        cancelled.append(line.read_event())
        line.send({"type": "response.done", "response": {**response, "status": "cancelled"}}, {"type": "x.end"})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        with pytest.raises(RealtimeError, match="no"):
            session.ask("look", timeout=LIMIT)
        assert session.wait_for("x.end", timeout=LIMIT)
    assert (cancelled[0]["type"], cancelled[0]["response_id"]) == ("response.cancel", "resp_1")


def test_what_cannot_be_asked(session: RealtimeSession) -> None:
    """Is told in one sentence, and nothing is sent."""
    before = session.stats.frames_sent
    with pytest.raises(ConfigurationError, match="conversation"):
        session.ask("hi", conversation="nowhere")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="temperature"):
        session.ask("hi", temperature=1)  # type: ignore[call-arg]
    with pytest.raises(AudioFileError, match="missing"):
        session.ask(Path("missing.wav"))
    assert session.stats.frames_sent == before


def test_a_transcription_session_gives_no_answers(server: LocalServer) -> None:
    """And says so."""
    with server.client().realtime.connect(model="m", query={"intent": "transcription"}) as session:
        with pytest.raises(ConfigurationError, match="transcribe"):
            session.ask("hi")


# -- time, Ctrl-C and the end ---


def test_time_is_up() -> None:
    """The answer is cancelled on the server, and the next question is answered."""
    patient = Patient()
    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        with pytest.raises(TimedOut, match=r"within 0\.3 s: it had begun and .* of audio"):
            session.ask("wait", timeout=0.3)
        assert patient.cancelled.acquire(timeout=LIMIT)
        assert session.ask("again", timeout=LIMIT).transcript == "again"
        assert session.stats.unread_messages == 0


def test_time_is_up_before_it_begins() -> None:
    """The wish is remembered, and the response is cancelled when it begins after all (protocol.md 4.9)."""
    patient = Patient()
    late = Faults(Delay(0.5, on="response.created"))
    with LocalServer(responder=patient, faults=late) as server, server.client().realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        with pytest.raises(TimedOut, match="begun"):
            session.ask("wait", timeout=0.2)
        assert patient.cancelled.acquire(timeout=LIMIT)
        assert session.ask("again", timeout=LIMIT).transcript == "again"
        assert session.stats.unread_messages == 0


def test_the_cancel_event() -> None:
    """Ends the wait within 50 ms, and cancels the answer."""
    patient = Patient()
    cancel = threading.Event()
    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        thread, failures = in_thread(lambda: session.ask("wait", cancel=cancel))
        assert patient.asked.acquire(timeout=LIMIT)
        cancel.set()
        thread.join(LIMIT)
        assert isinstance(failures[0], Cancelled)
        assert patient.cancelled.acquire(timeout=LIMIT)
        assert session.ask("again", timeout=LIMIT).transcript == "again"


def test_late_audio_of_a_cancelled_answer_is_in_no_other() -> None:
    """It is known for what it is (protocol.md 4.8)."""
    patient = Patient()
    faults = Faults(LateDeltas(5, seconds=0.05))
    with LocalServer(responder=patient, faults=faults) as server:
        with server.client().realtime.connect(model="m") as session:
            session.receive(timeout=LIMIT)
            with pytest.raises(TimedOut):
                session.ask("wait", timeout=0.2)
            replies = [session.ask("again", timeout=LIMIT) for _ in range(5)]
            assert [reply.duration for reply in replies] == [pytest.approx(0.2)] * 5
            time.sleep(0.1)
            assert session.ask("again").duration == pytest.approx(0.2)
            assert session.stats.unread_messages == 0


def test_the_session_ends_meanwhile() -> None:
    """The call ends the same way."""
    patient = Patient()
    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        thread, failures = in_thread(lambda: session.ask("wait", timeout=LIMIT))
        assert patient.asked.acquire(timeout=LIMIT)
        session.close()
        thread.join(LIMIT)
        assert isinstance(failures[0], SessionClosed)
        with pytest.raises(SessionClosed):
            session.ask("more")


def test_the_connection_is_replaced_meanwhile() -> None:
    """The call says that its answer is lost; the next one is answered on the new connection."""
    patient = Patient()
    with LocalServer(responder=patient) as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            thread, failures = in_thread(lambda: session.ask("wait", timeout=LIMIT))
            assert patient.asked.acquire(timeout=LIMIT)
            server.inject(Drop())
            thread.join(LIMIT)
            assert isinstance(failures[0], ConnectionLost)
            assert "not known" in str(failures[0])
            assert session.ask("again", timeout=LIMIT).transcript == "again"
            assert session.stats.reconnects == 1


# -- beside others ---


def test_it_waits_for_a_response_that_runs() -> None:
    """Whoever asked for that."""
    patient = Patient()
    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        session.conversation.item.create_user_message("wait")
        session.response.create(wait=True)
        assert patient.asked.acquire(timeout=LIMIT)
        replies: list[Reply] = []
        thread, failures = in_thread(lambda: replies.append(session.ask("next", timeout=LIMIT)))
        thread.join(0.1)
        assert thread.is_alive()
        patient.go_on.set()
        thread.join(LIMIT)
        assert not failures
        assert replies[0].transcript == "next"
        assert session.wait_for("response.done", timeout=LIMIT)


def test_it_waits_no_longer_than_it_was_told() -> None:
    """And says for what."""
    patient = Patient()
    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        session.conversation.item.create_user_message("wait")
        session.response.create(wait=True)
        assert patient.asked.acquire(timeout=LIMIT)
        with pytest.raises(TimedOut, match="another call or response"):
            session.ask("next", timeout=0.1)
        patient.go_on.set()
        assert session.ask("next", timeout=LIMIT).transcript == "next"
        assert [item.text for item in server.sessions[0].items if item.role == "user"] == ["wait", "next"]


def test_questions_of_many_threads_queue_up(server: LocalServer, session: RealtimeSession) -> None:
    """Each gets its own answer, and the conversation is in order."""
    session.update(output_modalities="text")
    wrong: list[tuple[str, str]] = []

    def work(name: str) -> None:
        for number in range(10):
            asked = f"{name} {number}"
            said = session.ask(asked, timeout=LIMIT).text
            if said != asked:
                wrong.append((asked, said))

    threads = [in_thread(lambda name=name: work(name)) for name in "abcdef"]  # type: ignore[misc]
    for thread, failures in threads:
        thread.join(LIMIT)
        assert not failures
    assert not wrong
    said = [item.text for item in server.sessions[0].items]
    assert said[::2] == said[1::2]


def test_questions_beside_the_conversation_run_side_by_side() -> None:
    """All at once, beside one in the conversation, and none of them joins it."""
    together = threading.Barrier(5, timeout=LIMIT)

    def responder(turn: Turn) -> str:
        together.wait()
        return turn.text

    with LocalServer(responder=responder) as server, server.client().realtime.connect(model="m") as session:
        replies: dict[str, Reply] = {}

        def ask(name: str, **how: Any) -> None:
            replies[name] = session.ask(name, timeout=LIMIT, **how)

        threads = [in_thread(lambda name=name: ask(name, conversation="none")) for name in "abcd"]  # type: ignore[misc]
        threads.append(in_thread(lambda: ask("e")))
        for thread, failures in threads:
            thread.join(LIMIT)
            assert not failures
        assert {name: reply.transcript for name, reply in replies.items()} == {name: name for name in "abcde"}
        assert [item.transcript or item.text for item in server.sessions[0].items] == ["e", "e"]
        assert session.stats.unread_messages == 1


def test_what_a_question_beside_the_conversation_sees() -> None:
    """The question and what input= holds; without a question, the conversation."""
    seen: list[list[str]] = []

    def responder(turn: Turn) -> str:
        seen.append([item.text for item in turn.items])
        return "ok"

    with LocalServer(responder=responder) as server, server.client().realtime.connect(model="m") as session:
        known = session.conversation.item.create_user_message("before")
        session.ask("alone", conversation="none")
        session.ask("both", conversation="none", input=[{"type": "item_reference", "id": known["id"]}])
        session.ask(conversation="none", instructions="sum it up")
        session.ask("inside", input=[])
    assert seen == [["alone"], ["before", "both"], ["before"], ["inside"]]


def test_a_loop_in_another_thread_misses_nothing() -> None:
    """Every event of every answer, while the calls get theirs."""
    got: list[str | None] = []
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        stream = session.events()
        thread, _ = in_thread(lambda: got.extend(message.type for message in stream))
        for number in range(50):
            assert session.ask(f"x{number}").transcript == f"x{number}"
        session.send({"type": "input_audio_buffer.clear"})
        end = time.monotonic() + LIMIT
        while "input_audio_buffer.cleared" not in got and time.monotonic() < end:
            time.sleep(0.01)
    thread.join(LIMIT)
    assert got.count("response.created") == got.count("response.done") == got.count("rate_limits.updated") == 50
    assert got.count("response.output_audio.delta") >= 50


def test_a_loop_may_ask() -> None:
    """The consuming thread asks in the middle of its loop, beyond every bound of the main stream."""
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", max_unread_bytes=2000) as session:
            for message in session.events(timeout=LIMIT):
                if message.type == "session.created":
                    replies = [session.ask("one two three", timeout=LIMIT) for _ in range(10)]
                    break
    assert [reply.transcript for reply in replies] == ["one two three"] * 10


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_many_questions_without_a_loop_leave_nothing(session: RealtimeSession, count: int) -> None:
    """No message waits, and nothing is remembered of them for long."""
    session.update(output_modalities="text", turn_detection=None)
    for number in range(count):
        assert session.ask(str(number)).text == str(number)
        if number % 50 == 0:
            session.conversation.item.delete(session.conversation.item.create_user_message("x")["id"])
    stats = session.stats
    assert (stats.unread_messages, stats.stalls) == (1, 0)


# -- servers that are not as they should be ---

TWISTS: list[Fault] = [
    NoEcho(),
    ExtraFields(),
    Skip(on="response.created"),
    Skip(on="conversation.item.added"),
    Skip(on="conversation.item.done"),
    Skip(on="rate_limits.updated"),
    Skip(on="response.output_item.added"),
    Skip(on="response.output_audio_transcript.done"),
    Skip(on="response.output_audio_transcript.delta"),
    Skip(on="response.content_part.added"),
    Delay(on="conversation.item.added", until="response.done"),
    Delay(on="response.output_audio_transcript.done", until="response.output_item.done"),
    Delay(on="response.output_item.added", until="response.output_audio.delta"),
]


@pytest.mark.parametrize("twist", TWISTS, ids=repr)
def test_answers_survive_twisted_events(twist: Fault) -> None:
    """What is missing, late or strange on the way does not change an answer."""
    with LocalServer(faults=Faults(twist)) as server, server.client().realtime.connect(model="m") as session:
        for words in ("one two three", "four five"):
            reply = session.ask(words, timeout=LIMIT)
            assert reply.transcript == words
            assert reply.duration == pytest.approx(0.2 * len(words.split()))


# -- in pieces ---


def test_pieces_add_up_to_the_reply(session: RealtimeSession) -> None:
    """Text and audio as they come, the reply at the end."""
    stream = session.ask_stream("one two three")
    *pieces, reply = stream

    assert isinstance(reply, Reply)
    assert reply is stream.reply
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == reply.transcript == "one two three"
    spoken = [piece for piece in pieces if isinstance(piece, np.ndarray)]
    assert np.array_equal(np.concatenate(spoken), reply.audio)
    assert next(stream, None) is None


def leave_by_break(session: RealtimeSession) -> None:
    for _ in session.ask_stream("wait"):
        break


def leave_by_with(session: RealtimeSession) -> None:
    with session.ask_stream("wait") as stream:
        next(stream)


def leave_by_exception(session: RealtimeSession) -> None:
    with pytest.raises(ZeroDivisionError), session.ask_stream("wait") as stream:
        for _ in stream:
            1 / 0  # noqa: B018


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_with, leave_by_exception])
def test_leaving_early_cancels(leave: Callable[[RealtimeSession], None]) -> None:
    """However that is done; the next question is answered."""
    patient = Patient()
    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        leave(session)
        assert patient.cancelled.acquire(timeout=LIMIT)
        assert session.ask("again", timeout=LIMIT).transcript == "again"
        assert session.stats.unread_messages == 0


def test_a_stream_that_nobody_begins_asks_nothing(server: LocalServer, session: RealtimeSession) -> None:
    """And holds nobody up."""
    stream = session.ask_stream("never")
    assert session.ask("now", timeout=LIMIT).transcript == "now"
    assert [item.text for item in server.sessions[0].items if item.role == "user"] == ["now"]
    stream.close()
    assert list(stream) == []


def test_a_stream_keeps_its_session() -> None:
    """As long as it is iterated over."""
    with LocalServer() as server:
        client = server.client()
        stream = client.realtime.connect(model="m").ask_stream("one two")
        *_, reply = stream
        assert isinstance(reply, Reply)
        assert reply.transcript == "one two"
        client.close()


def test_a_stream_that_rests_holds_no_reader_up() -> None:
    """What comes meanwhile is there when the next piece is asked for."""
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", max_unread_bytes=2000) as session:
            stream = session.ask_stream("one two three four", timeout=LIMIT)
            next(stream)
            session.conversation.item.create_user_message("beside")
            time.sleep(0.05)
            *_, reply = stream
    assert isinstance(reply, Reply)
    assert reply.transcript == "one two three four"


def test_spoken_interruption_is_told() -> None:
    """The user speaks into the answer: it ends as the server ended it (protocol.md 4.8)."""
    patient = Patient()
    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        replies: list[Reply] = []
        thread, failures = in_thread(lambda: replies.append(session.ask("wait", timeout=LIMIT)))
        assert patient.asked.acquire(timeout=LIMIT)
        session.send_audio(audio_files.read(QUESTION)[:24_000])
        thread.join(LIMIT)
    assert not failures
    assert replies[0].status == "cancelled"
    assert replies[0].status_details is not None
    assert replies[0].status_details["reason"] == "turn_detected"


def test_answers_in_speech_of_their_own() -> None:
    """Audio of the responder comes through sample by sample, however it was cut."""
    tone = (8000 * np.sin(np.arange(100_001) * 0.05)).astype(np.int16)
    with LocalServer(responder=lambda _: [Audio(tone, "la la")]) as server:
        with server.client().realtime.connect(model="m") as session:
            reply = session.ask("sing")
    assert np.array_equal(reply.audio, tone)
    assert reply.transcript == "la la"
