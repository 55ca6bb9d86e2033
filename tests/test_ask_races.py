"""ask() and a server that is quicker, forgetful, or asked by somebody else: scripted event by event."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from meshapi_rt import RealtimeError, RealtimeSession, TimedOut

from .conftest import client_of
from .peers import LIMIT, Line, peer

BUSY = {
    "type": "invalid_request_error",
    "code": "conversation_already_has_active_response",
    "message": "Conversation already has an active response in progress: resp_x.",
}


class Desk:
    """The server's side of a conversation, by hand."""

    def __init__(self, line: Line, *, echo: bool = True) -> None:
        self.line = line
        self._echo = echo
        line.greet()

    def read(self, kind: str) -> Any:
        """Read an event, which must be of this type."""
        event = self.line.read_event()
        assert event["type"] == kind, event
        return event

    def question(self) -> Any:
        """Read a question; return its response.create."""
        item = self.read("conversation.item.create")["item"]
        for last in ("added", "done"):
            self.line.send({"type": f"conversation.item.{last}", "item": item, "previous_item_id": None})
        return self.read("response.create")

    def response(self, name: str, asked: Any = None, **more: Any) -> dict[str, Any]:
        """Return the response object of an answer; nobody's without *asked*."""
        echoed = asked["response"]["metadata"] if asked is not None and self._echo else None
        return {"id": name, "conversation_id": "conv_1", "status": "in_progress", "metadata": echoed, **more}

    def begin(self, name: str, asked: Any = None, **more: Any) -> None:
        self.line.send({"type": "response.created", "response": self.response(name, asked, **more)})

    def say(self, name: str, text: str) -> None:
        ids = {"response_id": name, "item_id": f"item_{name}", "output_index": 0, "content_index": 0}
        audio = base64.b64encode(bytes(48 * len(text))).decode()
        self.line.send(
            {"type": "response.output_audio_transcript.delta", **ids, "delta": text},
            {"type": "response.output_audio.delta", **ids, "delta": audio},
        )

    def end(self, name: str, asked: Any = None, status: str = "completed") -> None:
        self.line.send(
            {"type": "response.done", "response": {**self.response(name, asked), "status": status, "output": []}},
            {"type": "rate_limits.updated", "rate_limits": []},
        )

    def answer(self, name: str, asked: Any, text: str) -> None:
        self.begin(name, asked)
        self.say(name, text)
        self.end(name, asked)

    def refuse(self, asked: Any, error: dict[str, Any], *, echo: bool = True) -> None:
        event_id = asked["event_id"] if echo else None
        self.line.send({"type": "error", "event_id": "event_1", "error": {**error, "event_id": event_id}})


def with_session(script: Callable[[Line], object], work: Callable[[RealtimeSession], object]) -> None:
    """Run *work* with a session at a scripted server; nothing may be left for the main stream."""
    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        work(session)


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("echo_event_id", [True, False])
def test_voice_detection_wins_the_race(echo: bool, echo_event_id: bool) -> None:
    """Its response began first: ours is refused, waited for and asked for again, and the caller sees none of it."""

    def script(line: Line) -> None:
        desk = Desk(line, echo=echo)
        asked = desk.question()
        desk.begin("resp_voice")
        desk.say("resp_voice", "you spoke")
        desk.refuse(asked, BUSY, echo=echo_event_id)
        desk.say("resp_voice", " to me")
        desk.end("resp_voice")
        again = desk.read("response.create")
        assert again["event_id"] != asked["event_id"]
        desk.answer("resp_ours", again, "you asked")
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        reply = session.ask("hi", timeout=LIMIT)
        assert (reply.response_id, reply.transcript) == ("resp_ours", "you asked")
        assert reply.duration == pytest.approx(0.009)

    with_session(script, work)


def test_a_server_that_is_busy_with_something_untold() -> None:
    """It is asked again after a pause that grows, until it takes the question."""

    def script(line: Line) -> None:
        desk = Desk(line)
        asked = desk.question()
        for _ in range(3):
            desk.refuse(asked, BUSY)
            asked = desk.read("response.create")
        desk.answer("resp_1", asked, "at last")
        line.serve_until_close()

    with_session(script, lambda session: _expect(session, "at last"))


def _expect(session: RealtimeSession, transcript: str) -> None:
    assert session.ask("hi", timeout=LIMIT).transcript == transcript


def test_metadata_that_is_not_echoed() -> None:
    """The oldest response.create that is not answered is meant (protocol.md 4.16)."""

    def script(line: Line) -> None:
        desk = Desk(line, echo=False)
        for text in ("one", "two"):
            desk.answer(f"resp_{text}", desk.question(), text)
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        _expect(session, "one")
        _expect(session, "two")
        assert session.stats.unread_messages == 0

    with_session(script, work)


def test_a_server_that_echoes_is_believed() -> None:
    """A response without metadata is somebody else's there, also where ours begins later."""

    def script(line: Line) -> None:
        desk = Desk(line)
        desk.answer("resp_1", desk.question(), "first")
        asked = desk.question()
        desk.begin("resp_beside", conversation_id=None)
        desk.say("resp_beside", "not for you")
        desk.begin("resp_2", asked)
        desk.end("resp_beside")
        desk.say("resp_2", "second")
        desk.end("resp_2", asked)
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        _expect(session, "first")
        _expect(session, "second")

    with_session(script, work)


def test_a_response_that_was_taken_for_ours_gives_way_to_ours() -> None:
    """The first one had no metadata; the one that has them decides."""

    def script(line: Line) -> None:
        desk = Desk(line)
        asked = desk.question()
        desk.begin("resp_x")
        desk.say("resp_x", "who is that")
        desk.answer("resp_ours", asked, "ours")
        desk.end("resp_x")
        line.serve_until_close()

    with_session(script, lambda session: _expect(session, "ours"))


def test_a_response_that_was_asked_for_before() -> None:
    """A raw response.create comes first, and has the first answer, though nothing is echoed."""

    def script(line: Line) -> None:
        desk = Desk(line, echo=False)
        raw = desk.read("session.update")
        desk.read("response.create")
        asked = desk.question()
        desk.line.send({"type": "session.updated", "session": raw["session"]})
        desk.answer("resp_raw", None, "raw")
        desk.answer("resp_ours", asked, "ours")
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        session.update(wait=False)  # so that the ledger is kept
        session.send({"type": "response.create"})
        stream = session.events()
        _expect(session, "ours")
        stream.close()

    with_session(script, work)


def test_late_audio_of_another_response_is_left_alone() -> None:
    """Deltas after a cancelled response's end begin no answer (protocol.md 4.8)."""

    def script(line: Line) -> None:
        desk = Desk(line)
        asked = desk.question()
        desk.say("resp_old", "late")
        desk.answer("resp_new", asked, "new")
        desk.say("resp_new", "too late")
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        reply = session.ask("hi", timeout=LIMIT)
        assert reply.transcript == "new"
        assert reply.audio.size == 72

    with_session(script, work)


def test_a_cancel_that_comes_too_early_is_sent_when_it_can_work() -> None:
    """Time was up before response.created; with it goes the cancel, by id (protocol.md 4.9)."""

    def script(line: Line) -> None:
        desk = Desk(line)
        asked = desk.question()
        again = desk.question()  # the next question comes before anything is answered
        desk.begin("resp_1", asked)
        assert desk.read("response.cancel")["response_id"] == "resp_1"
        desk.refuse(again, BUSY)
        desk.end("resp_1", asked, "cancelled")
        desk.answer("resp_2", desk.read("response.create"), "second")
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        with pytest.raises(TimedOut, match=r"within 0\.1 s: it had not begun"):
            session.ask("first", timeout=0.1)
        _expect(session, "second")
        assert session.stats.unread_messages == 0

    with_session(script, work)


def test_a_cancel_that_was_not_needed_is_harmless() -> None:
    """The response ended just before: the refusal of the cancel is shown to nobody (protocol.md 1.9)."""

    def script(line: Line) -> None:
        desk = Desk(line)
        asked = desk.question()
        desk.begin("resp_1", asked)
        cancel = desk.read("response.cancel")
        desk.end("resp_1", asked)
        inactive = {"type": "invalid_request_error", "code": "response_cancel_not_active", "message": "none"}
        desk.refuse(cancel, inactive)
        desk.answer("resp_2", desk.question(), "second")
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        with pytest.raises(TimedOut, match="it had begun"):
            session.ask("first", timeout=0.1)
        _expect(session, "second")
        assert session.stats.unread_messages == 0

    with_session(script, work)


def test_an_error_of_somebody_else_is_not_ours() -> None:
    """Neither by its id, nor by what it is about, nor by its kind; the main stream has all three."""

    def script(line: Line) -> None:
        desk = Desk(line)
        asked = desk.question()
        desk.begin("resp_1", asked)
        for code, event_id in (("invalid_value", "theirs"), ("item_truncate_invalid_item_id", None), ("rate", None)):
            kind = "server_error" if code == "rate" else "invalid_request_error"
            error = {"type": kind, "code": code, "message": "no", "event_id": event_id}
            line.send({"type": "error", "error": error})
        desk.say("resp_1", "fine")
        desk.end("resp_1", asked)
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        _expect(session, "fine")
        for code in ("invalid_value", "item_truncate_invalid_item_id", "rate"):
            with pytest.raises(RealtimeError) as caught:
                session.receive(timeout=LIMIT)
            assert caught.value.code == code

    with_session(script, work)


def test_rate_limits_at_the_beginning_of_a_response() -> None:
    """They belong to the call there too (protocol.md 4.13); those of others do not."""

    def script(line: Line) -> None:
        desk = Desk(line)
        asked = desk.question()
        desk.begin("resp_1", asked)
        line.send({"type": "rate_limits.updated", "rate_limits": []})
        line.send({"type": "response.done", "response": {**desk.response("resp_1", asked), "status": "completed"}})
        line.send({"type": "response.created", "response": desk.response("resp_x")})
        line.send({"type": "rate_limits.updated", "rate_limits": [{"name": "theirs"}]}, {"type": "x.end"})
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        session.ask("hi", timeout=LIMIT)
        types = [session.receive(timeout=LIMIT).type for _ in range(3)]
        assert types[-2:] == ["rate_limits.updated", "x.end"]

    with_session(script, work)


def test_the_beta_names_of_an_old_server() -> None:
    """Are understood (protocol.md 2.3)."""

    def script(line: Line) -> None:
        line.greet()
        item = line.read_event()["item"]
        line.send({"type": "conversation.item.created", "item": item})
        asked = line.read_event()
        response = {"id": "resp_1", "metadata": asked["response"]["metadata"]}
        ids = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
        line.send({"type": "response.created", "response": response})
        line.send({"type": "response.audio_transcript.delta", **ids, "delta": "old"})
        line.send({"type": "response.audio.delta", **ids, "delta": base64.b64encode(bytes(480)).decode()})
        line.send({"type": "response.done", "response": {**response, "status": "completed", "output": []}})
        line.serve_until_close()

    def work(session: RealtimeSession) -> None:
        reply = session.ask("hi", timeout=LIMIT)
        assert (reply.transcript, reply.audio.size) == ("old", 240)

    with_session(script, work)


def test_an_answer_that_only_its_end_tells() -> None:
    """Neither its beginning nor its deltas came (protocol.md 4.8)."""

    def script(line: Line) -> None:
        desk = Desk(line)
        asked = desk.question()
        content = [{"type": "output_audio", "transcript": "all at once"}]
        item = {"id": "item_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
        response = {**desk.response("resp_1", asked), "status": "completed", "output": [item]}
        line.send({"type": "response.done", "response": response})
        line.serve_until_close()

    with_session(script, lambda session: _expect(session, "all at once"))
