"""Calls that wait for answers: which messages are whose (design.md section 4).

A call opens a :class:`Claim`, sends through it, and takes the answers out of it. Claimed messages also go to the main
stream while a consumer is open there, and are not kept for later otherwise. Errors go to the call alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from .errors import MeshAPIError
from .inbox import Inbox, again
from .ledger import Sent
from .message import RealtimeMessage
from .routing import ITSELF, Owner, Routing
from .waiting import Wait

__all__ = ["Arrival", "Claim", "Claims", "Facts"]

_LOOK = 0.5  # seconds between two looks at what the reader writes without the lock
_STUCK = 30.0  # seconds that a response is waited for before one is asked for beside it, which a server refuses


class Facts(Protocol):
    """What the mirror of the conversation knows."""

    @property
    def answering(self) -> str | None:
        """The response that runs in the conversation."""

    def knows(self, response_id: str) -> bool:
        """Tell whether a response was announced; the reader asks."""


@attrs.frozen
class Arrival:
    """A message that a call waited for.

    Attributes:
        message: The message.
        at: When it came, on the monotonic clock.
        about: What an error refuses, as far as that is known.
    """

    message: RealtimeMessage
    at: float
    about: Sent | None = None


class Claim:
    """One call under way.

    Threads:
        The calling thread opens, waits and closes; the reader puts.

    Attributes:
        whole: Everything about its items is its own, and its responses are. Else only the answers are.
        closed: The call is over. A response that begins for it now is cancelled.
        thread: Who waits.
    """

    def __init__(self, claims: Claims, *, whole: bool = False) -> None:
        self._claims = claims
        self._arrivals: deque[Arrival] = deque()
        self._news = threading.Condition(claims.lock)
        self._failure: MeshAPIError | None = None
        self.whole = whole
        self.closed = False
        self._resting = True  # it has not begun
        self.thread = threading.get_ident()

    def __enter__(self) -> Claim:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Begin the call."""
        self._claims.open(self)
        self.resume()

    def rest(self) -> None:
        """Stop waiting for a while: the caller has something to do first."""
        if not self._resting:
            self._resting = True
            self._claims.inbox.calls(-1)

    def resume(self) -> None:
        """Wait again, maybe on another thread."""
        self.thread = threading.get_ident()
        if self._resting:
            self._resting = False
            self._claims.inbox.calls(+1)

    def close(self) -> None:
        """End the call; what still comes for it is nobody's. Any number of times."""
        self._claims.close(self)

    # -- waiting ---

    def next(self, wait: Wait) -> Arrival | None:
        """Take the next answer; ``None`` when time is up.

        Raises:
            MeshAPIError: The session has ended, or its connection broke after something was sent on it: no answer
                will come.
            Cancelled: The cancel event of *wait* was set.
        """
        with self._claims.lock:
            while not self._arrivals:
                if not self._sleep(wait):
                    return None
            return self._arrivals.popleft()

    def take_floor(self, wait: Wait, pause: float = 0.0) -> bool:
        """Wait for the right to ask for the conversation's one response; false when time is up.

        Calls get it in the order in which they came, and keep it until they close. A response that runs is waited
        for, but not for ever: its end may have got lost, and asking too early is harmless.

        Args:
            wait: How long.
            pause: Seconds that it takes at least, for a server that knows of a response which it did not tell of.
        """
        claims = self._claims
        with claims.lock:
            if self not in claims.line:
                claims.line.append(self)
            while claims.line[0] is not self:
                if not self._sleep(wait):
                    return False
            begin = time.monotonic()
            while (since := time.monotonic() - begin) < pause or (claims.facts.answering and since < _STUCK):
                if not self._sleep(wait, pause - since if since < pause else _LOOK):
                    return False
        return True

    def _sleep(self, wait: Wait, longest: float | None = None) -> bool:
        """Wait for news; false when time is up."""
        assert self._claims.lock.locked()
        end = self._failure or self._claims.inbox.ended
        if end is not None:
            raise again(end)
        left = wait.slice()
        if left == 0:
            return False
        self._news.wait(left if longest is None else longest if left is None else min(left, longest))
        return True

    def answer(self, event: dict[str, Any]) -> None:
        """Let the call have an answer that no server gave."""
        with self._claims.lock:
            self.put(Arrival(RealtimeMessage(None, None, event, event["type"]), time.monotonic()))

    # -- the reader's side ---

    def put(self, arrival: Arrival) -> None:
        """Let the call have a message."""
        assert self._claims.lock.locked()
        if not self.closed:
            self._arrivals.append(arrival)
            self._news.notify()

    def fail(self, failure: MeshAPIError) -> None:
        """Let the call know that no answers will come."""
        assert self._claims.lock.locked()
        self._failure = failure
        self._news.notify()

    def poke(self) -> None:
        """Let the call look again."""
        assert self._claims.lock.locked()
        self._news.notify()

    def end(self) -> None:
        """Take nothing more."""
        assert self._claims.lock.locked()
        self.closed = True
        self._arrivals.clear()


class Claims:
    """The calls of one session that wait.

    Threads:
        Any thread opens, closes and waits; senders tell it, in the order of the wire, what goes out; the reader asks
        it of every message. Nobody sends, or calls anything else, while holding its lock.

    Args:
        inbox: The main stream.
        facts: The mirror of the conversation.
        cancel: Cancels a response, for the call whose it was; never waits.

    Attributes:
        lock: Guards everything here and in the claims.
        line: The calls that want the conversation's one response, or have it: the first one.
        busy: Whether what comes may be somebody's. The reader looks at it without the lock, once per batch.
    """

    def __init__(self, inbox: Inbox, facts: Facts, cancel: Callable[[str, Claim], None]) -> None:
        self.inbox = inbox
        self.facts = facts
        self._cancel = cancel
        self._open: set[Claim] = set()
        self.busy = False
        self._make_lock()

    def _make_lock(self) -> None:
        self.lock = threading.Lock()
        self.line: list[Claim] = []
        self._routing = Routing(self.facts.knows)

    # -- calls ---

    def open(self, claim: Claim) -> None:
        """Begin a call."""
        with self.lock:
            self._open.add(claim)
            self.busy = True

    def close(self, claim: Claim) -> None:
        """End a call; its response is cancelled if it has not ended, also where it only begins later."""
        with self.lock:
            claim.end()  # each step may be done twice: Ctrl-C may have come between them
            self._routing.leave(claim, time.monotonic())
            if claim in self.line:
                self.line.remove(claim)
                self._poke_line()
            self._open.discard(claim)
            self._rest()
            unwanted = self._take_unwanted()
        claim.rest()
        self._cancel_all(unwanted)

    @property
    def waiting(self) -> bool:
        """Whether a call is under way."""
        return bool(self._open)

    def _rest(self) -> None:
        assert self.lock.locked()
        self.busy = bool(self._open) or not self._routing.idle

    def _poke_line(self) -> None:
        assert self.lock.locked()
        if self.line:
            self.line[0].poke()

    # -- the sending side ---

    def expect(self, sent: Sent) -> None:
        """Note an event that goes out now."""
        with self.lock:
            self._routing.expect(sent)
            self.busy = True

    def withdraw(self, event_id: str) -> None:
        """Note that an event did not go out after all."""
        with self.lock:
            self._routing.ledger.withdraw(event_id)
            self._rest()

    def awaits(self, event_id: str) -> bool:
        """Tell whether an event is still unanswered."""
        with self.lock:
            return self._routing.ledger.holds(event_id)

    # -- the reader's side ---

    def sift(self, messages: list[RealtimeMessage]) -> list[RealtimeMessage]:
        """Let the calls have their messages; return those that are for the main stream."""
        now = time.monotonic()
        with self.lock:
            routed = [self._lead(message, now) for message in messages]
            if any(message.type == "response.done" for message in messages):
                self._poke_line()
            self._routing.clean(now)
            self._rest()
            unwanted = self._take_unwanted()
        self._cancel_all(unwanted)
        if not any(routed):
            return messages
        watched, receiver = self.inbox.is_watched, self.inbox.receiver()
        shown = []
        for message, owners in zip(messages, routed, strict=True):
            # A thread that reads is no consumer of the answers to its own calls.
            shared = watched or any(receiver not in (None, owner.thread) for owner in owners)
            if not owners or (shared and message.error is None and ITSELF not in owners):
                shown.append(message)
        return shown

    def _lead(self, message: RealtimeMessage, now: float) -> list[Owner]:
        """Give a message to those to whom it belongs; return them."""
        routed = self._routing.route(message)
        for owner, about in routed:
            if isinstance(owner, Claim):
                owner.put(Arrival(message, now, about))
        return [owner for owner, _ in routed]

    def _take_unwanted(self) -> list[tuple[str, Owner]]:
        assert self.lock.locked()
        found, self._routing.unwanted = self._routing.unwanted, []
        return found

    def _cancel_all(self, unwanted: list[tuple[str, Owner]]) -> None:
        for response_id, owner in unwanted:
            if isinstance(owner, Claim):
                self._cancel(response_id, owner)

    def lose(self, failure: MeshAPIError) -> None:
        """Fail the calls that have sent something: the connection is lost, and their answers with it."""
        with self.lock:
            for claim in self._open:
                if self._routing.has_sent(claim):
                    claim.fail(failure)

    def forget_connection(self, restored: set[str]) -> None:
        """Expect no answers any more but those to items that were restored on the next connection."""
        with self.lock:
            self._routing.forget_connection(restored)
            self._rest()
            self._poke_line()

    def wake(self) -> None:
        """Let every call see that the session has ended."""
        with self.lock:
            for claim in self._open:
                claim.poke()

    def orphan(self) -> None:
        """Forget a lock that may be held by a thread which does not exist in a forked child, and the calls there."""
        self._open.clear()
        self._make_lock()
