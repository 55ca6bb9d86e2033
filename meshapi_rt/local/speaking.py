"""The responses of one session: one in the conversation, any number beside it (protocol.md 4.9, 4.11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .conversation import Conversation
from .failures import Refusal
from .host import Host, Running
from .plan import make_plan
from .rendering import Rendered, Renderer, Spoken
from .response import Event, ResponseBuilder
from .settings import SessionSettings
from .values import Fail

__all__ = ["Speaking"]

_TOKENS_PER_MINUTE = 1_000_000  # what rate_limits.updated counts down from; advisory (protocol.md 4.13)


class Speaking:
    """Creates, feeds and ends responses. Everything is called on the loop's thread.

    Args:
        host: Who sends the events and runs the responder.
        on_done: Told the playing time in ms of every response that leaves the conversation free.
    """

    def __init__(
        self,
        host: Host,
        settings: SessionSettings,
        conversation: Conversation,
        conversation_id: str,
        on_done: Callable[[float], None],
    ) -> None:
        self._host = host
        self._settings = settings
        self._conversation = conversation
        self._conversation_id = conversation_id
        self._on_done = on_done
        self._running: dict[str, Running] = {}
        self._active: Running | None = None  # the one that writes to the conversation
        self._count = 0
        self._tokens = 0

    @property
    def busy(self) -> bool:
        """A response of the default conversation is running."""
        return self._active is not None

    def create(self, wanted: Mapping[str, Any]) -> None:
        """Start a response.

        Args:
            wanted: The validated ``response`` object, ``{}`` for none.

        Raises:
            Refusal: Another one is running in the conversation, or *wanted* cannot be had.
        """
        plan = make_plan(self._settings, self._conversation, wanted)
        if self._active is not None and not plan.out_of_band:
            raise Refusal(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self._active.turn.response_id}. "
                "Wait until the response is finished before creating a new one.",
            )
        conversation = None if plan.out_of_band else self._conversation
        builder = ResponseBuilder(plan, conversation, None if plan.out_of_band else self._conversation_id)
        running = Running(plan.turn(self._settings), builder, Renderer(plan, self._count))
        self._count += 1
        self._running[plan.id] = running
        if not plan.out_of_band:
            self._active = running
        self._send(builder.begin())
        self._host.answer(running)

    def absorb(self, running: Running, piece: Rendered) -> bool:
        """Take one piece of an answer; false says that nobody wants the rest."""
        if self._is_over(running):
            return False
        if isinstance(piece, Spoken):
            self._settings.voice_locked = True
        self._send(running.builder.add(piece))
        if self._is_over(running):  # the piece passed max_output_tokens, or was a failure
            self._end(running)
            return False
        return True

    def finish(self, running: Running, failure: Fail | None) -> None:
        """Take note that the responder is through."""
        if not running.builder.over:
            self._send(running.builder.complete() if failure is None else running.builder.fail(failure))
            self._end(running)

    def cancel(self, response_id: str | None) -> None:
        """Cancel a response for the client: without an id the one of the conversation.

        Raises:
            Refusal: It is not running.
        """
        running = self._active if response_id is None else self._running.get(response_id)
        if running is None:
            raise Refusal("response_cancel_not_active", "Cancellation failed: no active response found")
        self._cancel(running, "client_cancelled")

    def interrupt(self) -> None:
        """Cancel the response of the conversation, as the user speaks; others go on (protocol.md 4.8)."""
        if self._active is not None:
            self._cancel(self._active, "turn_detected")

    def abandon(self) -> None:
        """Tell every responder that nobody waits; nothing more is sent."""
        for running in self._running.values():
            running.builder.over = True
            running.turn.cancelled.set()
        self._running.clear()
        self._active = None

    @staticmethod
    def _is_over(running: Running) -> bool:
        return running.builder.over

    def _cancel(self, running: Running, reason: str) -> None:
        self._send(running.builder.cancel(reason))
        self._end(running)

    def _end(self, running: Running) -> None:
        running.turn.cancelled.set()
        self._running.pop(running.turn.response_id, None)  # sending its end may have ended the session
        self._tokens += running.builder.total_tokens
        self._host.send(self._rate_limits())
        if running is self._active:
            self._active = None
            self._on_done(running.builder.audio_ms)

    def _rate_limits(self) -> Event:
        remaining = max(0, _TOKENS_PER_MINUTE - self._tokens)
        limits = {
            "name": "tokens",
            "limit": _TOKENS_PER_MINUTE,
            "remaining": remaining,
            "reset_seconds": round((_TOKENS_PER_MINUTE - remaining) * 60 / _TOKENS_PER_MINUTE, 3),
        }
        return {"type": "rate_limits.updated", "rate_limits": [limits]}

    def _send(self, events: Iterable[Event]) -> None:
        for event in events:
            self._host.send(event)
