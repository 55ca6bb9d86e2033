"""What both sides said, in the order of the conversation: each item is told when all before it have been."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import attrs

__all__ = ["Scribe", "Utterance"]

_PATIENCE = 5.0  # seconds that a transcript of the user may take behind the end of the turn, before others are told


@attrs.frozen(kw_only=True)
class Utterance:
    """What one side said.

    Attributes:
        item_id: The item of the conversation.
        role: ``user`` or ``assistant``.
        text: The transcript, or what was typed; of an answer that was cut off what was heard, see *estimate*: empty
            where that was nothing.
        final: It will not change any more. Before that an utterance is told again and again as it grows; that of the
            assistant runs ahead of the voice.
        interrupted: The answer was cut off.
        estimate: The text was cut where the audio was: the two cannot be aligned, so it may be some words off.
    """

    item_id: str
    role: Literal["user", "assistant"]
    text: str
    final: bool
    interrupted: bool = False
    estimate: bool = False


class _Draft:
    def __init__(self, item_id: str, role: Literal["user", "assistant"]) -> None:
        self.item_id = item_id
        self.role: Literal["user", "assistant"] = role
        self.text = ""
        self.told = ""
        self.whole = False  # the text is
        self.over = False  # it was heard, or cut off, or given up
        self.interrupted = False
        self.estimate = False
        self.until: float | None = None  # how long others wait for it

    def utterance(self, *, final: bool) -> Utterance:
        return Utterance(
            item_id=self.item_id,
            role=self.role,
            text=self.text,
            final=final,
            interrupted=self.interrupted,
            estimate=self.estimate,
        )


class Scribe:
    """Puts utterances in order.

    A transcript of the user that takes longer than five seconds holds up nobody: it is told when it comes.

    Args:
        tell: Gets every utterance.

    Threads:
        One, the conductor's.
    """

    def __init__(self, tell: Callable[[Utterance], object]) -> None:
        self._tell = tell
        self._open: OrderedDict[str, _Draft] = OrderedDict()

    def begin(self, item_id: str, role: Literal["user", "assistant"]) -> None:
        """Take note of an item at the end of the conversation; a second time it means nothing."""
        self._open.setdefault(item_id, _Draft(item_id, role))

    def add(self, item_id: str, delta: str) -> None:
        """Add to what is said in an item."""
        draft = self._open.get(item_id)
        if draft is not None and not draft.whole and not draft.over:
            draft.text += delta
            self._tell_ready()

    def complete(self, item_id: str, text: str) -> None:
        """Take the whole text; the user's is final with it."""
        draft = self._open.get(item_id)
        if draft is None or draft.over:
            return
        draft.text, draft.whole = text, True
        draft.over = draft.role == "user"
        self._tell_ready()

    def expect(self, item_id: str) -> None:
        """Let others wait for a transcript of the user, but not for ever."""
        draft = self._open.get(item_id)
        if draft is not None:
            draft.until = time.monotonic() + _PATIENCE

    def end(self, item_id: str) -> None:
        """Take note that an item was heard to its end, or that its text will never be known."""
        draft = self._open.get(item_id)
        if draft is not None and not draft.over:
            draft.over = True
            self._tell_ready()

    def cut(self, item_id: str, heard: str | None, *, estimate: bool) -> None:
        """Take what was heard of an item that was cut off; ``None`` for what cannot be known."""
        draft = self._open.get(item_id)
        if draft is not None and not draft.over:
            draft.text, draft.interrupted, draft.estimate, draft.over = heard or "", True, estimate, True
            self._tell_ready()

    def drop(self, item_id: str) -> None:
        """Take back an item of which nothing was heard."""
        self.cut(item_id, "", estimate=False)

    def tick(self, now: float) -> None:
        """Wait no longer for what takes too long."""
        if any(draft.until is not None and now >= draft.until for draft in self._open.values()):
            self._tell_ready()

    def close(self) -> None:
        """Tell what is known of the rest."""
        for draft in self._open.values():
            draft.over = True
        self._tell_ready()

    def _tell_ready(self) -> None:
        now = time.monotonic()
        for draft in list(self._open.values()):
            if draft.over:
                del self._open[draft.item_id]
                if draft.text or draft.told:
                    self._tell(draft.utterance(final=True))
                continue
            if draft.text != draft.told:
                draft.told = draft.text
                self._tell(draft.utterance(final=False))
            if draft.until is None or now < draft.until:
                return
