"""Following a live session: which calls of its responses are to run, and what became of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..message import RealtimeMessage
from .clerk import BUSY, Clerk
from .origins import Origins, is_inside
from .runs import ToolRunner
from .turn import Answer, ToolTurn, Work, calls_in

__all__ = ["ToolTurns"]

_TURNS = 256  # remembered: for whoever asks, and so that a repeated event runs nothing again


class ToolTurns:
    """Runs the calls of every response of a session, and asks for what follows.

    A response that is cancelled, failed or incomplete runs nothing. Outputs are sent as their calls end; after the
    last one the follow-up is asked for as soon as the conversation is free. Where another response began after the
    server had all outputs, that one is the follow-up: the server takes events in order, so it has read them.

    Threads:
        The reader calls :meth:`observe`, :meth:`lost` and :meth:`reconnected`, which only look and note. A
        :class:`Clerk` does the work on a thread of its own, and calls have threads of theirs.

    Args:
        runner: Runs the calls.
        send: Sends an event, on one connection only where that is given.
        line: Returns the current connection; called by the reader.
        foreign: Tells whether a function of that name is somebody else's to answer.
        settings: Returns the effective configuration of the session.
        context: Returns the conversation as references; called by the reader.
        rounds: Follow-ups that may come right after each other; the last one may not call.
    """

    def __init__(
        self,
        runner: ToolRunner,
        send: Callable[[dict[str, Any], object], object],
        *,
        line: Callable[[], object],
        foreign: Callable[[str], bool],
        settings: Callable[[], Mapping[str, Any]],
        context: Callable[[], Sequence[Mapping[str, Any]]],
        rounds: int = 8,
    ) -> None:
        self._tools = runner.tools
        self._deliver = send
        self._line = line
        self._foreign = foreign
        self._context = context
        self._origins = Origins()
        self._ids = itertools.count(1)
        # Guards _turns and _ended. Held for looking and changing only.
        self._lock = threading.Lock()
        self._turns: dict[str, ToolTurn] = {}
        self._ended = False
        self._clerk = Clerk(
            runner,
            self._send,
            forces=lambda: settings().get("tool_choice", "auto") not in ("auto", "none"),
            rounds=rounds,
            ended=self._end,
        )

    # -- what it is told; none of it blocks ---

    def sent(self, wire: Mapping[str, Any]) -> None:
        """Take note of an event that goes out; any thread."""
        if wire["type"] == "response.create":
            self._origins.sent(wire)

    def observe(self, message: RealtimeMessage) -> bool:
        """Take in a message of the server; the reader. Tell whether it is a refusal that concerns nobody else."""
        note = _NOTES.get(message.type or "")
        return note is not None and message.outline is not None and note(self, message, message.outline)

    def lost(self) -> None:
        """Note that the connection is gone and another one may follow; the reader."""
        self._origins.forget_connection()
        self._clerk.lost()

    def reconnected(self, restored: Sequence[str], line: object) -> None:
        """Note that the session goes on, with these items on that connection; the reader, before its messages."""
        self._clerk.reconnected(restored, line)

    def turn_of(self, response_id: str) -> ToolTurn | None:
        """Return what becomes of the calls of a response; ``None`` where it has none, or none that run here.

        Known from the moment that its ``response.done`` was observed; of the last 256.
        """
        with self._lock:
            return self._turns.get(response_id)

    def post(self, make: Callable[[], dict[str, Any]]) -> None:
        """Have an event made and sent; any thread."""
        self._clerk.post(make)

    def close(self) -> None:
        """Wait for no call any longer, and send nothing more. Any thread, any number of times."""
        self._clerk.close()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end after :meth:`close`; it does not wait for itself."""
        self._clerk.join(timeout)

    def _send(self, event: dict[str, Any], line: object) -> None:
        try:
            self._deliver(event, line)
        except BaseException:
            self._origins.refused(event.get("event_id"))
            raise

    def _end(self) -> None:
        """Leave nobody waiting; the clerk, last."""
        with self._lock:
            self._ended = True
            turns = [turn for turn in self._turns.values() if not turn.over.is_set()]
        for turn in turns:
            turn.end(None)

    # -- the reader's notes ---

    def _note_created(self, _message: RealtimeMessage, event: Mapping[str, Any]) -> bool:
        response = event.get("response")
        if isinstance(response, dict):
            self._origins.created(response)
            self._clerk.created(response)
        return False

    def _note_done(self, _message: RealtimeMessage, event: Mapping[str, Any]) -> bool:
        response = event.get("response")
        if isinstance(response, dict):
            self._origins.created(response)  # where that was not told (protocol.md 4.8)
            self._clerk.done(response, self._work_for(response), self._line())
        return False

    def _work_for(self, response: Mapping[str, Any]) -> Work | None:
        """Return what a response asks for; ``None`` where it calls nothing, or nothing that is ours."""
        response_id, calls = str(response.get("id")), calls_in(response)
        if not calls:
            return None
        inside, wanted = is_inside(response), self._origins.of(response_id) or {}
        ours = [(call, item) for call, item in calls if self._is_ours(call.name, wanted)]
        with self._lock:
            if not ours or self._ended or response_id in self._turns:
                return None
            turn = self._turns[response_id] = ToolTurn(response_id)
            while len(self._turns) > _TURNS:
                del self._turns[next(iter(self._turns))]
        return Work(
            turn=turn,
            inside=inside,
            wanted=wanted,
            metadata=response.get("metadata") or wanted.get("metadata") or {},
            depth=0,
            partly=len(ours) < len(calls),
            context=[] if inside else self._context(),
            answers=[Answer(call, item, f"item_{self._clerk.prefix}_{next(self._ids)}") for call, item in ours],
        )

    def _is_ours(self, name: str, wanted: Mapping[str, Any]) -> bool:
        """Tell whether a call is to be answered here; so are those of functions that nobody has."""
        if name in self._tools:
            return True
        given = wanted.get("tools")
        theirs = given if isinstance(given, Sequence) else ()
        return not (self._foreign(name) or any(isinstance(one, Mapping) and one.get("name") == name for one in theirs))

    def _note_item(self, _message: RealtimeMessage, event: Mapping[str, Any]) -> bool:
        item = event.get("item")
        item_id = item.get("id") if isinstance(item, dict) else None
        if isinstance(item_id, str) and item_id.startswith(f"item_{self._clerk.prefix}"):
            self._clerk.kept(item_id)
        return False

    def _note_error(self, message: RealtimeMessage, _event: Mapping[str, Any]) -> bool:
        error = message.error
        assert error is not None
        self._origins.refused(error.event_id)
        clerk, event_id = self._clerk, error.event_id
        if event_id is None:  # some servers repeat no id (protocol.md 1.9)
            ours = error.code == BUSY and clerk.asking.is_set()
            if ours:
                clerk.not_followed(None, error.code)
            return ours
        if event_id.startswith(f"evt_follow_{clerk.prefix}"):
            clerk.not_followed(event_id, error.code)
            return error.code == BUSY
        if event_id.startswith(f"evt_item_{clerk.prefix}"):
            clerk.dropped(event_id.removeprefix("evt_").rpartition("_")[0], error.message)
            return True
        return False

    def _note_speech(self, message: RealtimeMessage, _event: Mapping[str, Any]) -> bool:
        self._clerk.speech(str(message.type))
        return False


_NOTES: dict[str, Callable[[ToolTurns, RealtimeMessage, Mapping[str, Any]], bool]] = {
    "response.created": ToolTurns._note_created,
    "response.done": ToolTurns._note_done,
    "conversation.item.added": ToolTurns._note_item,
    "conversation.item.done": ToolTurns._note_item,
    "conversation.item.created": ToolTurns._note_item,  # the beta's name
    "error": ToolTurns._note_error,
    "input_audio_buffer.speech_started": ToolTurns._note_speech,
    "input_audio_buffer.committed": ToolTurns._note_speech,
    "input_audio_buffer.cleared": ToolTurns._note_speech,
}
