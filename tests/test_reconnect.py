"""A session that survives its connection: what is restored, what the gap does, what the loop sees, how it ends."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from meshapi_rt import (
    ConnectionLost,
    RealtimeError,
    RealtimeMessage,
    RealtimeSession,
    ReconnectPolicy,
    SessionClosed,
    pcm,
)
from meshapi_rt.event_types import ReconnectedEvent
from meshapi_rt.local import Close, Drain, Drop, LocalServer, Reset, Stall, Terminate
from meshapi_rt.local.faults import Fault

from .clock import Stopwatch
from .conftest import client_of
from .local.validation import assert_valid_client_events
from .peers import HELLO, LIMIT, Line, peer, plain
from .test_close import in_thread

QUICK = ReconnectPolicy(delay=0.01, max_delay=0.05)


def configure(session: RealtimeSession) -> None:
    settings = {
        "type": "realtime",
        "output_modalities": ["text"],
        "instructions": "be brief",
        "audio": {"input": {"turn_detection": None}},
    }
    session.send({"type": "session.update", "session": settings})
    session.wait_for("session.updated", timeout=LIMIT)


def say(session: RealtimeSession, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    session.send({"type": "conversation.item.create", "item": item})


def turn(session: RealtimeSession, text: str) -> None:
    """One whole turn; the parrot repeats the text."""
    say(session, text)
    session.send({"type": "response.create"})
    session.wait_for("response.done", timeout=LIMIT)


def reconnected(session: RealtimeSession) -> ReconnectedEvent:
    event = session.wait_for("meshapi.reconnected", timeout=LIMIT).event
    assert event is not None
    assert event["type"] == "meshapi.reconnected"
    return event


def on_server(server: LocalServer) -> list[tuple[str | None, str | None]]:
    return [(item.role, item.text) for item in server.sessions[-1].items]


# Every way to lose a connection that a session survives: by name, a fault of the local server.
WAYS: dict[str, Fault] = {
    "FIN": Drop(),
    "RST": Reset(),
    "draining": Drain(),
    "empty close": Close(None),
    **{f"close {code}": Close(code, "bye") for code in (1001, 1011, 1012, 1013)},
    **{
        code: Terminate(code, "over")
        for code in (
            "session_duration_exceeded",
            "session_expired",
            "session_token_cap_exceeded",
            "idle_timeout",
            "connection_timeout",
            "provider_error",
            "upstream_overload",
            "gateway_timeout",
            "internal_error",
        )
    },
    "error, then FIN": Terminate("service_draining", "over", close_code=1011),
    "dead line": Stall(),
    "RST again": Reset(),
}


def test_a_conversation_survives_every_way_of_losing_a_connection() -> None:
    """Twenty of them: at the end the server has the whole of it in order, no item twice, with its configuration."""
    assert len(WAYS) == 20
    with LocalServer(record=True) as server:
        settings: dict[str, Any] = {"ping_interval": 0.2, "ping_timeout": 0.3}
        with server.client().realtime.connect(model="m", reconnect=QUICK, **settings) as session:
            configure(session)
            for name, way in WAYS.items():
                turn(session, name)
                server.inject(way)
                told = reconnected(session)
                assert told["lost"] == [], name
                assert told["restored"]["configuration"] is True
            turn(session, "the last")
            # What was cut off without the server noticing may still be open there; ours is the newest.
            items = server.sessions[-1].items
            assert [item.text for item in items] == [text for name in [*WAYS, "the last"] for text in (name, name)]
            assert [item.role for item in items] == ["user", "assistant"] * 21
            assert len({item.id for item in items}) == 42
            assert session.settings["instructions"] == "be brief"
            assert session.settings["output_modalities"] == ["text"]
            assert session.stats.reconnects == 20
        assert_valid_client_events(r.event for r in server.transcript if r.sender == "client" and r.event)


def test_a_loop_sees_one_message_and_nothing_else_of_a_reconnect() -> None:
    """Neither the new hello, nor the announcing error, nor the restoring."""
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            configure(session)
            turn(session, "one")
            session.wait_for("rate_limits.updated", timeout=LIMIT)
            for name in ("FIN", "RST", "draining", "close 1001", "session_expired"):
                server.inject(WAYS[name])
                reconnected(session)
                say(session, "marker")
                seen: list[str | None] = []
                while not seen or seen[-1] != "conversation.item.done":
                    seen.append(session.receive(timeout=LIMIT).type)
                assert seen == ["conversation.item.added", "conversation.item.done"]


def test_what_the_message_tells() -> None:
    """A clearly marked event of our own, with reason, restored, lost."""
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            configure(session)
            turn(session, "one")
            before = session.id
            server.drop()
            message = session.wait_for("meshapi.reconnected", timeout=LIMIT)
            told = message.event
            assert told is not None
            assert told["type"] == "meshapi.reconnected"
            assert message.text is not None
            assert json.loads(message.text) == told
            assert told["source"] == "meshapi_rt"
            assert (told["planned"], told["attempts"], told["dropped_sends"]) == (False, 1, 0)
            assert len(told["restored"]["items"]) == 2
            assert told["session_id"] == session.id != before


def test_a_tool_call_and_its_output_are_restored() -> None:
    """In order, with their ids."""
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
            session.send({"type": "session.update", "session": {"type": "realtime", "tools": [tool]}})
            configure(session)
            say(session, "call look {}")
            session.send({"type": "response.create", "response": {"tool_choice": "required"}})
            done = plain(session.wait_for("response.done", timeout=LIMIT))
            (call,) = done["response"]["output"]
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "seen"}
            session.send({"type": "conversation.item.create", "item": output})
            session.wait_for("conversation.item.done", timeout=LIMIT)
            before = [item.id for item in server.sessions[-1].items]
            server.drop()
            assert reconnected(session)["lost"] == []
            assert [item.id for item in server.sessions[-1].items] == before
            assert session.settings["tools"][0]["name"] == "look"


def test_a_spoken_turn_without_transcript_is_told_as_lost() -> None:
    """Nothing is pretended."""
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            configure(session)
            session.send_audio(bytes(48_000))
            session.send({"type": "input_audio_buffer.commit"})
            session.wait_for("conversation.item.done", timeout=LIMIT)
            server.drop()
            (lost,) = reconnected(session)["lost"]
            assert "turn of the user without transcript" in lost


def test_kept_audio_restores_a_spoken_turn() -> None:
    """With keep_audio: manual turns, and an item that was created with audio."""
    rng = np.random.default_rng(7)
    spoken, created = (rng.integers(-9000, 9000, 24_000, np.int16) for _ in range(2))
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK, keep_audio=True) as session:
            configure(session)
            session.send_audio(spoken[:10_000])
            audio = base64.b64encode(spoken[10_000:].tobytes()).decode()
            session.send({"type": "input_audio_buffer.append", "audio": audio})
            session.send({"type": "input_audio_buffer.commit"})
            session.wait_for("conversation.item.done", timeout=LIMIT)
            content = [{"type": "input_audio", "audio": base64.b64encode(created.tobytes()).decode()}]
            item = {"type": "message", "role": "user", "content": content}
            session.send({"type": "conversation.item.create", "item": item})
            session.wait_for("conversation.item.done", timeout=LIMIT)
            for _ in range(2):
                server.drop()
                assert reconnected(session)["lost"] == []
                first, second = server.sessions[-1].items
                assert np.array_equal(np.asarray(first.audio), spoken)
                assert np.array_equal(np.asarray(second.audio), created)


def test_kept_audio_restores_turns_that_voice_detection_cut() -> None:
    """By the server's own clock: what it heard as the turn is what it gets back."""
    silence, tone = np.zeros(24_000, np.int16), (9000 * np.sin(np.arange(24_000) * 0.2)).astype(np.int16)
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK, keep_audio=True) as session:
            detection = {"type": "server_vad", "create_response": False}
            settings = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
            session.send({"type": "session.update", "session": settings})
            for _ in range(2):
                for piece in pcm.split(np.concatenate([silence, tone, silence]), 0.1):
                    session.send_audio(piece)
                session.wait_for("conversation.item.done", timeout=LIMIT)
            before = [np.asarray(item.audio) for item in server.sessions[-1].items]
            assert len(before) == 2
            server.drop()
            assert reconnected(session)["lost"] == []
            after = [np.asarray(item.audio) for item in server.sessions[-1].items]
            assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_restored_reply_is_never_truncated_on_the_wire() -> None:
    """It is text there now; the mirror keeps what was heard, and the next restore sends that."""
    with LocalServer(record=True) as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            configure(session)
            settings = {"type": "realtime", "output_modalities": ["audio"]}
            session.send({"type": "session.update", "session": settings})
            turn(session, "one two three four five six")
            reply = server.sessions[-1].items[1].id
            server.drop()
            reconnected(session)
            cut = {"type": "conversation.item.truncate", "item_id": reply, "content_index": 0, "audio_end_ms": 600}
            session.send(cut)
            server.drop()
            reconnected(session)
            heard = server.sessions[-1].items[1].text
            assert heard
            assert "one two three four five six".startswith(heard)
            assert heard != "one two three four five six"
        assert not [r for r in server.transcript if r.event and r.event["type"] == "conversation.item.truncate"]


def test_audio_that_was_not_committed_is_told_as_lost() -> None:
    """It is in no item yet."""
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            configure(session)
            session.send_audio(bytes(48_000))
            server.drop()
            assert reconnected(session)["lost"] == ["audio that was not committed"]


# -- the gap ---


class Gap:
    """A server that drops its first connection on demand and keeps the next ones waiting until it is let go."""

    def __init__(self) -> None:
        self.drop = threading.Event()
        self.go = threading.Event()
        self.events: list[Any] = []

    def __call__(self, line: Line) -> None:
        if not self.drop.is_set():
            line.greet()
            assert self.drop.wait(LIMIT)
            return
        while not self.go.wait(0.05):
            if line.stopping.is_set():
                return
        line.greet()
        while True:
            event = line.read_event()
            if event["type"] == "session.update":
                line.send({"type": "session.updated", "session": event["session"]})
            else:
                self.events.append(event)
                line.send({"type": "x.got", "type_of": event["type"]})


def in_gap(session: RealtimeSession) -> None:
    """Wait until the session has noticed that its connection is gone."""
    end = time.monotonic() + LIMIT
    while session.stats.dropped_sends == 0 and time.monotonic() < end:
        session.send({"type": "response.cancel"})
        threading.Event().wait(0.01)
    assert session.stats.dropped_sends


def test_in_the_gap_audio_is_dropped_and_other_sends_wait() -> None:
    """Audio, cancel and truncate return at once and are counted; the rest arrives on the next connection."""
    gap = Gap()
    with peer(gap) as running:
        with client_of(running).realtime.connect(model="m", reconnect=QUICK) as session:
            session.receive(timeout=LIMIT)
            gap.drop.set()
            in_gap(session)
            dropped = session.stats.dropped_sends
            truncate = {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 5}
            with Stopwatch() as watch:
                session.send_audio(bytes(4800))
                session.send({"type": "input_audio_buffer.append", "audio": "AAAA"})
                session.send({"type": "response.cancel"})
                session.send(truncate)
            assert watch.took < 0.5
            assert session.stats.dropped_sends == dropped + 4
            with pytest.raises(TimeoutError, match=r"0.1 s"):
                session.send({"type": "x.late"}, timeout=0.1)
            sender = threading.Thread(target=session.send, args=({"type": "x.waiting"},))
            sender.start()
            sender.join(0.1)
            assert sender.is_alive()
            gap.go.set()
            sender.join(LIMIT)
            got = plain(session.wait_for("x.got", timeout=LIMIT))
            assert got["type_of"] == "x.waiting"
    assert [event["type"] for event in gap.events] == ["x.waiting"]


def test_close_ends_a_reconnect_under_way_at_once() -> None:
    """Also while others wait to receive and to send."""
    gap = Gap()
    with peer(gap) as running:
        session = client_of(running).realtime.connect(model="m", reconnect=QUICK)
        session.receive(timeout=LIMIT)
        gap.drop.set()
        in_gap(session)
        waiting = [in_thread(session.receive), in_thread(lambda: session.send({"type": "x"}))]
        waiting[1][0].join(0.1)
        with Stopwatch() as watch:
            session.close()
        assert watch.took < 0.5
        for thread, raised in waiting:
            thread.join(LIMIT)
            assert [type(end) for end in raised] == [SessionClosed]


def test_a_pause_between_tries_is_ended_by_close_too() -> None:
    """However long the policy's delay is."""
    gone = threading.Event()

    def script(line: Line) -> None:
        if not gone.is_set():
            gone.set()
            line.greet()

    slow = ReconnectPolicy(delay=60, max_delay=60, jitter=0)
    with peer(script) as running:
        session = client_of(running).realtime.connect(model="m", reconnect=slow)
        session.receive(timeout=LIMIT)
        in_gap(session)
        with Stopwatch() as watch:
            session.close()
        assert watch.took < 0.5


# -- giving up ---


def refusing_after_the_first(status: str, *headers: str, body: bytes = b"") -> Callable[[Line], None]:
    first = threading.Event()

    def script(line: Line) -> None:
        if first.is_set():
            line.refuse(status, body, *headers)
        else:
            first.set()
            line.greet()

    return script


def test_it_gives_up_after_its_attempts() -> None:
    """The end names both: why the connection was lost, and why no other came."""
    policy = ReconnectPolicy(attempts=3, delay=0.01)
    with peer(refusing_after_the_first("503 Service Unavailable")) as running:
        with client_of(running).realtime.connect(model="m", reconnect=policy) as session:
            with pytest.raises(ConnectionLost, match=r"without a close frame.*503") as caught:
                list(session.events(timeout=LIMIT))
            assert caught.value.__cause__ is not None
        assert len(running.lines) == 4


def test_it_gives_up_at_once_when_refused_for_good() -> None:
    """A key that was revoked does not come back."""
    with peer(refusing_after_the_first("401 Unauthorized")) as running:
        with client_of(running).realtime.connect(model="m", reconnect=QUICK) as session:
            with pytest.raises(ConnectionLost, match="401"):
                list(session.events(timeout=LIMIT))
        assert len(running.lines) == 2


def test_drops_per_session_are_bounded() -> None:
    """per_session drops are survived, the next one is not."""
    policy = ReconnectPolicy(per_session=2, delay=0.01)
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=policy) as session:
            for _ in range(2):
                server.drop()
                reconnected(session)
            server.drop()
            with pytest.raises(ConnectionLost):
                list(session.events(timeout=LIMIT))


def test_fatal_ends_are_not_survived() -> None:
    """Neither a fatal code, nor a close in good order."""

    def quota(line: Line) -> None:
        line.greet()
        line.send({"type": "error", "error": {"code": "insufficient_quota", "message": "x"}, "request_id": "r"})
        line.send_close(1008)
        line.serve_until_close()

    def bye(line: Line) -> None:
        line.greet()
        line.send_close(1000)
        line.serve_until_close()

    for script, code in ((quota, 1008), (bye, 1000)):
        with peer(script) as running:
            with client_of(running).realtime.connect(model="m", reconnect=QUICK) as session:
                with contextlib.suppress(RealtimeError):
                    list(session.events(timeout=LIMIT))
                assert session.close_code == code
            assert len(running.lines) == 1


def second_time(script: Callable[[Line], None]) -> Callable[[Line], None]:
    """Return a script that drops the first connection, plays *script* on the second, and then restores."""
    connections = iter(range(100))

    def scripted(line: Line) -> None:
        number = next(connections)
        if number == 0:
            line.greet()
        elif number == 1:
            script(line)
        else:
            line.greet()
            update = line.read_event()
            line.send({"type": "session.updated", "session": update["session"]})
            line.serve_until_close()

    return scripted


def test_a_close_while_restoring_is_one_failed_try() -> None:
    """Also one in good order: the session was not closed by it."""

    def closes(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send_close(1000)
        line.serve_until_close()

    with peer(second_time(closes)) as running:
        with client_of(running).realtime.connect(model="m", reconnect=QUICK) as session:
            assert reconnected(session)["attempts"] == 2


def test_a_terminal_error_while_restoring_ends_the_session() -> None:
    """With its code; it is not taken for the refusal of the configuration."""

    def quota(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send({"type": "error", "error": {"code": "insufficient_quota", "message": "x"}, "request_id": "req_5"})
        line.send_close(1008)
        line.serve_until_close()

    with peer(second_time(quota)) as running:
        with client_of(running).realtime.connect(model="m", reconnect=QUICK) as session:
            with pytest.raises(ConnectionLost, match=r"insufficient_quota.*req_5"):
                list(session.events(timeout=LIMIT))
        assert len(running.lines) == 2


def test_an_old_refusal_does_not_decide_over_the_end() -> None:
    """A harmless in-band error was the last thing before 1001."""
    first = threading.Event()

    def script(line: Line) -> None:
        line.greet()
        if first.is_set():
            update = line.read_event()
            line.send({"type": "session.updated", "session": update["session"]})
        else:
            first.set()
            line.send({"type": "error", "error": {"code": "response_cancel_not_active", "message": "x"}})
            line.send_close(1001)
        line.serve_until_close()

    with peer(script) as running:
        with client_of(running).realtime.connect(model="m", reconnect=QUICK) as session:
            with pytest.raises(RealtimeError):
                session.wait_for("meshapi.reconnected", timeout=LIMIT)
            assert reconnected(session)["attempts"] == 1


def test_renewals_are_no_drops() -> None:
    """per_session counts what was lost."""
    policy = ReconnectPolicy(lifetime=0.8, renew_before=0.6, renew_at_last=0.2, delay=0.01, per_session=1)
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=policy) as session:
            for _ in range(2):
                assert reconnected(session)["planned"] is True
            server.inject(Drop())
            while reconnected(session)["planned"]:
                pass
            assert not session.closed


def test_an_error_that_announced_nothing_is_delivered() -> None:
    """An in-band error with a reconnectable code, and no end behind it: half a second later it is there."""

    def script(line: Line) -> None:
        line.greet()
        line.read_event()  # not with the first frame, which is looked at before the reader is
        line.send({"type": "error", "event_id": "e", "error": {"code": "rate_limit_exceeded", "message": "slow down"}})
        line.read_event()
        line.send({"type": "x.next"})
        line.serve_until_close()

    with peer(script) as running:
        with client_of(running).realtime.connect(model="m", reconnect=QUICK) as session:
            messages = session.events(timeout=LIMIT)
            next(messages)
            session.send({"type": "x"})
            error = next(messages)
            assert error.error is not None
            assert error.error.code == "rate_limit_exceeded"
            session.send({"type": "x"})
            assert next(messages).type == "x.next"


def test_a_refused_configuration_is_told() -> None:
    """The session goes on with the server's own."""
    first = threading.Event()

    def script(line: Line) -> None:
        session = {"id": "s", "type": "realtime", "instructions": "mine" if not first.is_set() else "default"}
        line.upgrade()
        line.send({**HELLO, "session": session})
        if not first.is_set():
            first.set()
            return
        update = line.read_event()
        error = {"code": "invalid_value", "message": "not now", "event_id": update["event_id"]}
        line.send({"type": "error", "event_id": "e", "error": error})
        line.serve_until_close()

    with peer(script) as running:
        with client_of(running).realtime.connect(model="m", reconnect=QUICK) as session:
            told = reconnected(session)
            assert told["restored"]["configuration"] is False
            assert "not now" in told["lost"][0]
            assert session.settings["instructions"] == "default"


# -- planned ---


def test_a_connection_near_its_end_is_renewed_in_a_gap() -> None:
    """Before the server's limit, without an error that the loop would see."""
    policy = ReconnectPolicy(lifetime=1.0, renew_before=0.6, renew_at_last=0.2, delay=0.01)
    with LocalServer(session_limit=1.0) as server:
        with server.client().realtime.connect(model="m", reconnect=policy) as session:
            configure(session)
            turn(session, "one")
            for _ in range(3):
                told = reconnected(session)
                assert told["planned"] is True
                assert told["lost"] == []
            assert [text for _, text in on_server(server)] == ["one", "one"]


def said(session: RealtimeSession, item_id: str) -> list[RealtimeMessage]:
    """Say something and see it arrive; return the errors seen. What a lost connection swallowed is said again."""
    content = [{"type": "input_text", "text": item_id}]
    item = {"id": item_id, "type": "message", "role": "user", "content": content}
    session.send({"type": "conversation.item.create", "item": item})
    failures = []
    for message in session.events(timeout=LIMIT):
        event = plain(message)
        if message.error:
            failures.append(message)
        elif message.type == "meshapi.reconnected" and not event["planned"]:
            if item_id in event["restored"]["items"]:
                break
            session.send({"type": "conversation.item.create", "item": item})
        elif message.type == "conversation.item.done" and event["item"]["id"] == item_id:
            break
    return failures


def accelerated_life(seconds: float, limit: float) -> int:
    """Talk on while the server ends every connection after *limit* seconds; return the reconnects."""
    policy = ReconnectPolicy(lifetime=limit, renew_before=limit * 0.6, renew_at_last=limit * 0.2, delay=0.01)
    with LocalServer(session_limit=limit) as server:
        with server.client().realtime.connect(model="m", reconnect=policy) as session:
            configure(session)
            everything: list[str] = []
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                everything.append(f"turn_{len(everything)}")
                assert said(session, everything[-1]) == []
            there = [item.id for item in server.sessions[-1].items]  # the newest; an older one may just be going
            assert there == everything[-len(there) :]
            assert len(there) >= min(len(everything), 200)
            return session.stats.reconnects


def test_a_life_of_many_connections() -> None:
    """No interruption that the loop notices as an error."""
    assert accelerated_life(4.0, 1.0) >= 3


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_an_hour_of_accelerated_life() -> None:
    """120 lifetimes: what is 30 minutes on the gateway are 3 seconds here."""
    assert accelerated_life(360.0, 3.0) >= 100


def test_what_is_lost_is_told_once_and_usage_goes_on() -> None:
    """A spoken turn without transcript is lost by the first reconnect, shown as lost, and not told by the second."""
    with LocalServer() as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            configure(session)
            session.send_audio(pcm.silence(0.2))
            session.send({"type": "input_audio_buffer.commit"})
            session.wait_for("conversation.item.done", timeout=LIMIT)
            turn(session, "one")
            before = session.usage
            server.drop()
            assert ["without transcript" in clause for clause in reconnected(session)["lost"]] == [True]
            assert [item.lost for item in session.conversation] == [True, False, False]
            turn(session, "two")
            assert session.usage.responses == before.responses + 1 == 2
            assert session.usage.total_tokens > before.total_tokens
            server.drop()
            assert reconnected(session)["lost"] == []
            assert [item.lost for item in session.conversation] == [True, False, False, False, False]
            assert str(session.conversation).splitlines()[0] == "user: (audio) [lost in a reconnect]"
            assert on_server(server) == [(item.role, item.text) for item in session.conversation.items[1:]]
