"""Many questions of every kind on one session: nothing is left behind, and Ctrl-C is one of the kinds."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from meshapi_rt import Cancelled, RealtimeError, RealtimeSession, TimedOut
from meshapi_rt.claims import Arrival, Claim
from meshapi_rt.drafts import Draft
from meshapi_rt.local import Faults, LateDeltas, LocalServer, ToolCall, Turn
from meshapi_rt.routing import _AFTERWARDS

from .peers import LIMIT
from .test_ask import QUICK, Patient
from .test_commands import TONE, png
from .test_interrupt import interrupted


def parrot_or_wait(turn: Turn) -> Iterator[str | ToolCall]:
    """Repeat; asked to wait, go on until cancelled; asked for a tool, call it and say what it returned."""
    if turn.text == "tool" and not turn.outputs:
        yield ToolCall("double", {"number": 21})
        return
    yield turn.outputs[0].output or "" if turn.outputs else turn.text or "heard"
    while turn.text == "wait" and not turn.cancelled.wait(0.005):
        yield " and"


def by_text(session: RealtimeSession, number: int) -> None:
    assert session.ask(f"text {number}", output_modalities="text").text == f"text {number}"


def by_audio(session: RealtimeSession, number: int) -> None:
    assert session.ask(TONE[: 4800 + number]).transcript == "heard"


def by_image(session: RealtimeSession, number: int) -> None:
    assert session.ask("look", image=png()).ok


def beside(session: RealtimeSession, number: int) -> None:
    assert session.ask(f"beside {number}", conversation="none").transcript == f"beside {number}"


def refused(session: RealtimeSession, number: int) -> None:
    with pytest.raises(RealtimeError):
        session.ask("no", max_output_tokens=0)


def out_of_time(session: RealtimeSession, number: int) -> None:
    with pytest.raises(TimedOut):
        session.ask("wait", timeout=0.002 * (number % 20))


def cancelled(session: RealtimeSession, number: int) -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.002 * (number % 20), cancel.set)
    timer.start()
    with pytest.raises(Cancelled):
        session.ask("wait", cancel=cancel, timeout=LIMIT)
    timer.join()


def by_tool(session: RealtimeSession, number: int) -> None:
    reply = session.ask("tool", timeout=LIMIT)
    assert (reply.transcript, [call.output for call in reply.tool_calls]) == ("42", ["42"])


def left(session: RealtimeSession, number: int) -> None:
    for got, _ in enumerate(session.ask_stream("wait", timeout=LIMIT)):
        if got == number % 5:
            break


KINDS: list[Callable[[RealtimeSession, int], None]] = [
    by_text,
    by_audio,
    by_image,
    beside,
    by_tool,
    refused,
    out_of_time,
    cancelled,
    left,
]


def others() -> list[str]:
    """Return the names of the threads that are not the package's; a dummy stands for one that is gone."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if not name.startswith(("meshapi-rt-", "Dummy-"))]


def left_over() -> dict[str, int]:
    """Count what calls may leave behind, once the reader is through with it too."""
    end = time.monotonic() + LIMIT
    while True:
        gc.collect()
        found = {kind.__name__: 0 for kind in (Claim, Arrival, Draft)}
        for one in gc.get_objects():
            if type(one) in (Claim, Arrival, Draft):
                found[type(one).__name__] += 1
        if not any(found.values()) or time.monotonic() > end:
            return found
        time.sleep(0.01)


def test_two_hundred_questions_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread, no message, no claim and no draft outlives its question, and every question is answered."""
    monkeypatch.setattr("meshapi_rt.routing._AFTERWARDS", 1.0)
    assert _AFTERWARDS == 30.0
    with LocalServer(responder=parrot_or_wait, faults=Faults(LateDeltas(2, seconds=0.01))) as server:
        with server.client().realtime.connect(model="m") as session:
            session.receive(timeout=LIMIT)
            parameters = {"type": "object", "properties": {"number": {"type": "integer"}}}
            session.tool(lambda number: 2 * number, name="double", parameters=parameters)
            session.wait_for("session.updated", timeout=LIMIT)
            before = others()
            for number in range(200):
                KINDS[number % len(KINDS)](session, number)
            by_text(session, 200)
            time.sleep(1.1)
            session.update()  # whoever comes next sweeps up
            claims = session._engine.claims
            assert not claims.busy
            assert not claims.waiting
            assert not claims.line
            assert left_over() == {"Claim": 0, "Arrival": 0, "Draft": 0}
            assert session.stats.unread_messages == 0
            assert session.stats.stalls == 0
            names = [thread.name for thread in threading.enumerate()]
            assert len([name for name in names if name.startswith("meshapi-rt-reader-")]) == 1
            assert others() == before


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one thread")
@pytest.mark.parametrize("stream", [False, True])
def test_ctrl_c_cancels_the_reply_and_leaves_the_session_usable(stream: bool) -> None:
    """Within 0.2 s, whether the answer is waited for whole or in pieces."""
    patient = Patient()

    def asks(session: RealtimeSession) -> None:
        if stream:
            for _ in session.ask_stream("wait"):
                pass
        else:
            session.ask("wait")

    with LocalServer(responder=patient) as server, server.client().realtime.connect(model="m") as session:
        took = []
        for _ in range(3):
            took.append(interrupted(lambda: asks(session)))
            assert patient.cancelled.acquire(timeout=LIMIT)
            assert session.ask("again", timeout=LIMIT).transcript == "again"
        assert min(took) < 0.2  # a busy machine may be late once


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one thread")
def test_ctrl_c_at_any_moment() -> None:
    """While it asks, waits or collects: afterwards the next question is answered.

    Half a frame breaks a connection, and a signal may come in the middle of one: hence the reconnect.
    """
    main = threading.main_thread().ident or 0
    with (
        LocalServer(responder=parrot_or_wait) as server,
        server.client().realtime.connect(model="m", reconnect=QUICK) as session,
    ):
        for number in range(40):
            timer = threading.Timer(0.0005 * number, lambda: signal.pthread_kill(main, signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                timer.start()
                session.ask("wait", timeout=LIMIT)
                timer.join(LIMIT)
                time.sleep(LIMIT)
            timer.join(LIMIT)
            assert session.ask(f"{number}", timeout=LIMIT).transcript == f"{number}"
        assert not session._engine.claims.waiting
        assert not session._engine.claims.line
