"""The thread that answers for tools: it starts calls, sends their outputs, and asks once for what follows."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec

from ..errors import MeshAPIError
from ..waiting import taken
from .floor import Floor
from .origins import is_inside
from .runs import Run, ToolRunner
from .turn import FOLLOWS, Answer, State, Work

__all__ = ["BUSY", "Clerk"]

log = logging.getLogger("meshapi_rt")
_numbers = itertools.count(1)
BUSY = "conversation_already_has_active_response"
_PAUSE = 0.5  # seconds after a send that failed
_NO_LIMIT = 1e6  # seconds; queues refuse much more
_P = ParamSpec("_P")


def _fact(method: Callable[Concatenate[Clerk, _P], None]) -> Callable[Concatenate[Clerk, _P], None]:
    """Have a call noted, and made by the clerk's own thread."""

    def note(self: Clerk, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        self._facts.put(functools.partial(method, self, *args, **kwargs))

    functools.update_wrapper(note, method)
    return note


class Clerk:
    """Does the work that responses with calls make.

    Threads:
        One, ``meshapi-rt-tools-N``, a daemon, owns everything here and ends after :meth:`close`. The public methods
        give it facts: any thread may call them, and none blocks but :meth:`join`.

    Args:
        runner: Runs the calls.
        send: Sends an event; on one connection or not at all, where that is given.
        forces: Tells whether ``tool_choice`` of the session demands a call.
        rounds: Follow-ups that may come right after each other; the last one may not call.
        ended: Called last.

    Attributes:
        prefix: In the ids of everything that it sends: ``item_PREFIX_…``, ``evt_item_…``, ``evt_follow_…``.
        asking: Set while a follow-up was sent and is not answered.
    """

    def __init__(
        self,
        runner: ToolRunner,
        send: Callable[[dict[str, Any], object], object],
        *,
        forces: Callable[[], bool],
        rounds: int,
        ended: Callable[[], object],
    ) -> None:
        self.prefix = secrets.token_hex(6)
        self.asking = threading.Event()
        self._runner = runner
        self._send = send
        self._forces = forces
        self._rounds = rounds
        self._ended = ended
        self._ids = itertools.count(1)
        self._facts: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._floor = Floor()
        self._open: list[Work] = []
        self._creating: Work | None = None  # whose follow-up was sent and is not answered
        self._create_id = ""  # of that event
        self._depths: dict[str, int] = {}  # of follow-ups that run
        # Where what is open belongs; None in a gap. Nothing may slip to the next connection unasked: an output that the
        # old one swallowed has to go before the follow-up there.
        self._line: object = None
        self._pause_until = -math.inf
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"meshapi-rt-tools-{next(_numbers)}", daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end after :meth:`close`; it does not wait for itself."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _work(self) -> None:
        try:
            while not self._closed:
                self._take_facts()
                if not self._closed and self._line is not None:
                    for work in list(self._open):
                        self._advance(work)
        except BaseException:  # nobody may wait for a thread that died
            log.exception("the thread that answers for tools failed, which is a bug of meshapi_rt")
        self._line = None
        for run in self._runs():
            run.abandon()
        self._ended()

    def _take_facts(self) -> None:
        """Wait for something to happen or to be due, and take in all that did."""
        try:
            taken(self._facts, self._idle_for())()
            while not self._closed:
                self._facts.get_nowait()()
        except queue.Empty:
            pass

    def _idle_for(self) -> float:
        """Return the seconds until the clock has something to say."""
        now = time.monotonic()
        due = [_NO_LIMIT, *(run.left() for run in self._runs())]
        if self._open and self._line is not None:
            pause = self._pause_until - now
            if pause > 0:
                due.append(pause)
            if self._creating is None and not all(work.running for work in self._open):
                due.append(max(self._floor.free_in(now), pause))
        return min(due)

    def _runs(self) -> list[Run]:
        return [answer.run for work in self._open for answer in work.answers if answer.run is not None]

    # -- facts ---

    @_fact
    def close(self) -> None:
        """Wait for no call any longer, and send nothing more."""
        self._closed = True

    @_fact
    def wake(self) -> None:
        """Look again."""

    @_fact
    def post(self, make: Callable[[], dict[str, Any]]) -> None:
        """Send an event that is made then, on whatever connection there is."""
        self._sends(make(), None)

    @_fact
    def created(self, response: Mapping[str, Any]) -> None:
        """A response began."""
        self._find_followed(response)

    @_fact
    def done(self, response: Mapping[str, Any], work: Work | None, line: object) -> None:
        """A response is over; *work* is what it asks for, on that connection."""
        self._line = line
        response_id = str(response.get("id"))
        self._find_followed(response, over=True)  # its beginning may not have been told (protocol.md 4.8)
        self._floor.done(response_id)
        creating = self._creating
        if creating is not None and creating.candidate == response_id:
            self._follow(creating, response_id, creating.depth + 1)
        depth = self._depths.pop(response_id, 0)
        if work is None:
            return
        if depth >= self._rounds:
            log.warning("follow-up %d still calls tools, although it may not: nothing runs", depth)
            work.turn.end(None)
            return
        work.depth = depth
        self._open.append(work)
        for answer in work.answers:
            answer.run = self._runner.start(answer.asked, self.wake)

    @_fact
    def kept(self, item_id: str) -> None:
        """The server has an output."""
        for work in self._open:
            for answer in work.answers:
                if answer.item_id == item_id and answer.state in (State.SENT, State.READY):
                    answer.state = State.KEPT
                    work.candidate = None  # it began before, and so without the output

    @_fact
    def dropped(self, item_id: str, why: str) -> None:
        """The server refused an output."""
        for answer in self._answers(item_id):
            if answer.state is State.SENT:
                self._drop(answer, why)

    @_fact
    def not_followed(self, event_id: str | None, code: str | None) -> None:
        """The follow-up was refused: because another response runs, or for good."""
        work = self._creating
        if work is None or event_id not in (None, self._create_id):
            return
        self._answered()
        if code == BUSY:
            work.candidate = None
            self._floor.refused()
        else:
            log.warning("the response that follows the tool calls of %s was refused: %s", work.turn.response_id, code)
            self._end(work)

    @_fact
    def speech(self, kind: str) -> None:
        """An event of the input buffer came."""
        self._floor.speech(kind)

    @_fact
    def lost(self) -> None:
        """The connection is gone."""
        self._line = None
        self._floor = Floor()
        self._answered()
        self._depths.clear()
        for work in self._open:
            work.candidate = None

    @_fact
    def reconnected(self, restored: Sequence[str], line: object) -> None:
        """Send again what the new connection does not know, and drop what it has no call for."""
        self._line = line
        self._pause_until = -math.inf
        for work in self._open:
            for answer in work.answers if work.inside else ():
                answer.gone = answer.call_item not in restored
                if answer.state in (State.SENT, State.KEPT):
                    answer.state = State.KEPT if answer.item_id in restored else State.READY

    # -- what they mean ---

    def _find_followed(self, response: Mapping[str, Any], *, over: bool = False) -> None:
        """Look whether a response is the follow-up of one or the other, see the class."""
        response_id, inside = str(response.get("id")), is_inside(response)
        if inside and not over:
            self._floor.begun(response_id)
        named = (response.get("metadata") or {}).get(FOLLOWS)
        for work in list(self._open):
            if named == work.turn.response_id:
                self._follow(work, response_id, work.depth + 1)
            elif over or inside != work.inside:
                continue
            elif inside and work.kept and not (work.own_input or work.partly):
                self._follow(work, response_id, work.depth + 1 if work is self._creating else 0)
            elif work is self._creating and named is None:
                work.candidate = response_id

    def _answered(self) -> None:
        """No answer to a follow-up is waited for any more."""
        self._creating = None
        self.asking.clear()

    def _follow(self, work: Work, response_id: str, depth: int) -> None:
        self._depths[response_id] = max(depth, self._depths.get(response_id, 0))
        self._end(work, response_id)

    def _end(self, work: Work, follow_up: str | None = None) -> None:
        if work is self._creating:
            self._answered()
        self._open.remove(work)
        work.turn.end(follow_up)

    def _answers(self, item_id: str) -> list[Answer]:
        return [answer for work in self._open for answer in work.answers if answer.item_id == item_id]

    def _drop(self, answer: Answer, why: str) -> None:
        answer.state = State.DROPPED
        log.warning(
            "the output of the call %s of the tool %s is dropped: %s", answer.asked.call_id, answer.asked.name, why
        )

    # -- what is to be done ---

    def _advance(self, work: Work) -> None:
        for answer in work.answers:
            self._answer(work, answer)
        if work.running or self._creating is not None:
            return
        if work.dropped or work.partly:
            if work.partly:
                log.info("%s also calls functions of others: what follows is theirs", work.turn.response_id)
            self._end(work)
        elif not work.inside or self._floor.free_in(time.monotonic()) == 0:
            self._create(work)

    def _answer(self, work: Work, answer: Answer) -> None:
        """Send an output that is ready."""
        if answer.state is State.RUNNING and answer.run is not None and (ended := answer.run.ended) is not None:
            answer.ended, answer.run = ended, None
            answer.state = State.READY if work.inside else State.KEPT
            work.turn.note(ended)
        if answer.state is State.READY and answer.gone:
            self._drop(answer, "the conversation that was restored does not hold the call")
        elif answer.state is State.READY and time.monotonic() >= self._pause_until:
            event = {"type": "conversation.item.create", "item": {"id": answer.item_id, **answer.item()}}
            if self._sends({**event, "event_id": f"evt_{answer.item_id}_{next(self._ids)}"}, self._line):
                answer.state = State.SENT

    def _create(self, work: Work) -> None:
        """Ask for the follow-up."""
        if time.monotonic() < self._pause_until:
            return
        last = work.depth + 1 >= self._rounds
        if last:
            log.warning("%d answers in a row called tools: the next one may not", work.depth + 1)
        self._creating = work
        self.asking.set()
        self._create_id = f"evt_follow_{self.prefix}_{next(self._ids)}"
        event = {"type": "response.create", "event_id": self._create_id}
        if not self._sends({**event, "response": work.follow_up(forced=self._forces(), last=last)}, self._line):
            self._answered()

    def _sends(self, event: dict[str, Any], line: object) -> bool:
        """Send; where that fails the session is over, or connects again, and it is tried later."""
        try:
            self._send(event, line)
        except MeshAPIError as exc:
            log.info("a %s for a tool call was not sent: %s", event["type"], exc)
            self._pause_until = time.monotonic() + _PAUSE
            return False
        return True
