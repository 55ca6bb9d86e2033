"""One question and its answer over a session: what ``ask`` and ``ask_stream`` have in common."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .claims import Arrival, Claim
from .commands import client_event
from .drafts import Draft, Piece, reply_of
from .engine import Engine
from .errors import RealtimeError, TimedOut
from .following import Turn
from .ledger import tagged
from .message import RealtimeMessage
from .reply import Reply
from .retired import current_name
from .tools.calls import ToolCall
from .waiting import Wait

__all__ = ["Exchange", "Question"]

_BUSY = "conversation_already_has_active_response"
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between tries where a server is busy with a response it did not tell of


_OVER = "meshapi.turn_over"  # what a call tells itself when the tools of its response have run
_FOLLOWS_WITHIN = 1.0  # seconds from when a response is known to follow them until it comes


@attrs.frozen(kw_only=True)
class Question:
    """What is asked.

    Attributes:
        items: The user's message; empty to have the conversation answered as it is.
        response: The ``response`` object.
        out_of_band: Whether question and answer stay out of the conversation.
    """

    items: Sequence[dict[str, Any]]
    response: Mapping[str, Any]
    out_of_band: bool = False

    def wanted(self) -> dict[str, Any]:
        """Return the ``response`` object with what the model is to see, where that is not the conversation."""
        response = dict(self.response)
        if self.out_of_band:
            response["conversation"] = "none"
            own = [{name: value for name, value in item.items() if name != "id"} for item in self.items]
        else:
            own = [{"type": "item_reference", "id": item["id"]} for item in self.items]
        if "input" in response or (self.out_of_band and own):
            response["input"] = [*response.get("input", ()), *own]
        return response


class Exchange:
    """Asks, and takes in the answer piece by piece.

    A response that was asked for and has not ended when the exchange is closed is cancelled, also where it only
    begins later (protocol.md 4.9).

    Threads:
        One thread at a time.

    Attributes:
        reply: The answer, once it is whole.
    """

    def __init__(self, engine: Engine, question: Question, wait: Wait) -> None:
        self._engine = engine
        self._question = question
        self._wait = wait
        self._claim = Claim(engine.claims, whole=True)
        self._pieces: deque[Piece] = deque()
        self._draft: Draft | None = None
        self._drafts: list[Draft] = []  # of responses that have ended and were followed by another one
        self._seen: set[str] = set()  # responses
        self._turn: Turn | None = None  # of tools that run for the last one
        self._looked_after: Draft | None = None  # the last one whose tools were asked for
        self._patience: Wait | None = None  # for the response that follows them
        self._ran: dict[str, ToolCall] = {}  # what became of calls, by their ids
        self._called = time.monotonic()
        self._asked: float | None = None  # when the response was asked for first
        self._refusals = 0
        self._state = "new"  # "open", "closed"
        self.reply: Reply | None = None

    @property
    def is_open(self) -> bool:
        """Whether it holds something of the session."""
        return self._state == "open"

    def next(self) -> Piece | Reply | None:
        """Return the next piece, then the reply, then ``None``. The first call asks.

        Raises:
            RealtimeError: The server refused the question.
            TimedOut: Time was up before the reply was whole.
            Cancelled: The cancel event was set.
            MeshAPIError: The session or its connection ended.
        """
        if self._state == "closed":
            return None
        try:
            if self._state == "new":
                self._begin()
            else:
                self._claim.resume()
            piece = self._next()
        except BaseException:
            self.close()
            raise
        if isinstance(piece, Reply):
            self.close()
        else:
            self._claim.rest()
        return piece

    def answer(self) -> Reply:
        """Go all the way, and return the reply; errors as in :meth:`next`."""
        try:
            while not isinstance(piece := self.next(), Reply):
                assert piece is not None
            return piece
        finally:
            self.close()

    def close(self) -> None:
        """Leave it; any number of times, and from any thread that does not run beside :meth:`next`."""
        if self._state == "open":
            self._claim.close()
        self._state = "closed"

    # -- asking ---

    def _begin(self) -> None:
        self._state = "open"
        self._claim.open()
        if not self._question.out_of_band:
            self._take_floor()
            for item in self._question.items:
                self._send("conversation.item.create", item=item)
        self._ask()

    def _take_floor(self, pause: float = 0.0) -> None:
        if not self._claim.take_floor(self._wait, pause):
            raise self._timed_out("another call or response had the conversation until then")

    def _ask(self) -> None:
        event_id = self._engine.next_id()
        self._send("response.create", event_id, response=tagged(self._question.wanted(), event_id))
        self._asked = self._asked or time.monotonic()

    def _send(self, kind: str, event_id: str | None = None, **fields: Any) -> None:
        self._engine.sender.send(client_event(kind, event_id, **fields), self._wait, self._claim)

    # -- the answer ---

    def _next(self) -> Piece | Reply:
        while not self._pieces:
            if self._is_whole():
                assert self._draft is not None
                assert self._asked is not None
                drafts = [*self._drafts, self._draft]
                self.reply = reply_of(drafts, self._ran, called=self._called, asked=self._asked)
                return self.reply
            arrival = self._claim.next(self._wait if self._patience is None else self._patience)
            if arrival is not None:
                self._take(arrival)
            elif self._patience is not None and self._wait.left():
                self._turn = self._patience = None  # what follows the calls came from somebody else: it is not ours
            else:
                raise self._timed_out(self._progress())
        return self._pieces.popleft()

    # -- the session's tools ---

    def _is_whole(self) -> bool:
        """Tell whether nothing more will come: the response has ended, and no tool of the session runs for it."""
        draft = self._draft
        if draft is None or not draft.is_done:
            return False
        if draft is not self._looked_after:
            self._looked_after = draft
            self._turn = self._engine.turn_of(draft.response_id)
            if self._turn is not None:
                self._turn.when_over(lambda turn: self._claim.answer({"type": _OVER, "turn": turn}))
        return self._turn is None

    def _turn_is_over(self, turn: Turn) -> None:
        """Take what tools returned; if a response follows that was not told yet, wait for it a little."""
        if turn is not self._turn:
            return  # it was told
        self._take_calls()
        if turn.follow_up is None:
            self._turn = None
        else:
            self._patience = self._wait.within(_FOLLOWS_WITHIN)

    def _take_calls(self) -> None:
        if self._turn is not None:
            self._ran.update((call.call_id, call) for call in self._turn.calls)

    # -- messages ---

    def _take(self, arrival: Arrival) -> None:
        message = arrival.message
        if message.error is not None:
            self._refused(arrival, message.error)
            return
        if message.type == _OVER:
            assert message.outline is not None
            self._turn_is_over(message.outline["turn"])
            return
        draft = self._draft_of(message)
        if draft is not None:
            self._pieces += draft.take(message, arrival.at)

    def _refused(self, arrival: Arrival, error: RealtimeError) -> None:
        about = arrival.about.kind if arrival.about is not None else None
        if about == "response.cancel":
            return  # by whom else: the response is ended one way or another
        if error.code != _BUSY or self._question.out_of_band:
            raise error
        # Somebody was quicker, voice detection for example: what we may have taken for ours is theirs.
        self._draft = None
        self._pieces.clear()
        pause = _PAUSES[min(self._refusals, len(_PAUSES) - 1)]
        self._refusals += 1
        self._take_floor(pause)
        self._ask()

    def _draft_of(self, message: RealtimeMessage) -> Draft | None:
        """Return the draft that a message belongs to: the latest response of this call, and no earlier one."""
        event = message.outline
        if event is None:
            return self._draft  # binary audio
        kind = current_name(message.type or "")
        if not kind.startswith("response."):
            return None
        told = event.get("response")
        response_id = told.get("id") if isinstance(told, dict) else event.get("response_id")
        begins = kind in ("response.created", "response.output_item.added", "response.done")
        if begins and isinstance(response_id, str) and response_id not in self._seen:
            self._seen.add(response_id)
            self._take_calls()
            self._turn = self._patience = None
            if self._draft is not None and self._draft.is_done:
                self._drafts.append(self._draft)
            self._draft = Draft(response_id, self._engine.history.output_format)
        return self._draft if self._draft is not None and self._draft.response_id == response_id else None

    # -- what is said when time is up ---

    def _progress(self) -> str:
        if self._draft is None:
            return "it had not begun"
        heard = f" and {self._draft.seconds:.1f} s of audio had come" if self._draft.seconds else ""
        return f"it had begun{heard}"

    def _timed_out(self, progress: str) -> TimedOut:
        return TimedOut(
            f"no whole reply came within {self._wait.timeout:g} s: {progress}. It is cancelled, and the session is "
            "still open"
        )
