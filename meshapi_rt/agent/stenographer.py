"""Writes down what both sides say, as the server's events tell it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..conversation import ConversationView
from ..retired import with_retired_names
from .utterances import Scribe, Utterance

__all__ = ["Stenographer"]

_CONFIRMED_IN = 2.0  # seconds that the server has to confirm a truncation, before it is told without that


class Stenographer:
    """Follows the words of a conversation.

    Args:
        conversation: The mirror: it knows what of a transcript was heard.
        tell: Gets every utterance.
        wants: Whether a response is to be heard.

    Threads:
        One, the conductor's.

    Attributes:
        transcribes: Whether the user's speech is transcribed.
    """

    def __init__(
        self,
        conversation: ConversationView,
        tell: Callable[[Utterance], object],
        wants: Callable[[str | None], bool],
    ) -> None:
        self._conversation = conversation
        self._wants = wants
        self._scribe = Scribe(tell)
        self._committed: deque[str] = deque(maxlen=64)  # turns that were spoken
        self._cuts: dict[str, float] = {}  # items whose truncation is not confirmed, and until when to wait
        self.transcribes = False

    def observe(self, kind: str | None, event: Mapping[str, Any]) -> None:
        """Take in an event of the server."""
        handler = _HANDLERS.get(kind or "")
        if handler is not None:
            handler(self, str(event.get("item_id")), event)

    # -- what is heard of answers ---

    def answer_begins(self, item_id: str) -> None:
        """Take note of an item of the assistant."""
        self._scribe.begin(item_id, "assistant")

    def heard_whole(self, item_id: str) -> None:
        """Take note that an item was heard to its end."""
        self._scribe.end(item_id)

    def heard_nothing(self, item_id: str) -> None:
        """Take note that nothing was heard of an item, and nothing will be."""
        self._scribe.drop(item_id)

    def cut(self, item_id: str) -> None:
        """Take note that an item is being truncated; it is told when the server has confirmed that."""
        self._cuts[item_id] = time.monotonic() + _CONFIRMED_IN

    @property
    def waiting(self) -> bool:
        """Whether a truncation is not confirmed yet."""
        return bool(self._cuts)

    def confirm(self, item_id: str | None) -> None:
        """Tell what was heard of an item that was cut, if it was."""
        if item_id is None or self._cuts.pop(item_id, None) is None:
            return
        try:
            item = self._conversation[item_id]
        except KeyError:
            self._scribe.drop(item_id)
        else:
            self._scribe.cut(item_id, item.transcript, estimate=True)

    def tick(self, now: float) -> None:
        """Wait no longer for what takes too long."""
        for item_id, until in list(self._cuts.items()):
            if now >= until:
                self.confirm(item_id)
        self._scribe.tick(now)

    def close(self) -> None:
        """Tell what is known of the rest."""
        for item_id in list(self._cuts):
            self.confirm(item_id)
        self._scribe.close()

    # -- what the server says ---

    def _turn_committed(self, item_id: str, _event: Mapping[str, Any]) -> None:
        self._committed.append(item_id)
        self._scribe.begin(item_id, "user")
        if self.transcribes:
            self._scribe.expect(item_id)
        else:
            self._scribe.end(item_id)

    def _item_added(self, _: str, event: Mapping[str, Any]) -> None:
        """Take what the user typed; speech comes with a commit and a transcript."""
        item = event.get("item")
        if not isinstance(item, Mapping) or item.get("role") != "user" or item.get("id") in self._committed:
            return
        item_id, content = str(item.get("id")), item.get("content")
        parts = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
        self._scribe.begin(item_id, "user")
        self._scribe.complete(item_id, "\n".join(str(part["text"]) for part in parts if part.get("text")))

    def _truncated(self, item_id: str, _event: Mapping[str, Any]) -> None:
        self.confirm(item_id)

    def _deleted(self, item_id: str, _event: Mapping[str, Any]) -> None:
        self._scribe.drop(item_id)

    def _delta_of_user(self, item_id: str, event: Mapping[str, Any]) -> None:
        self._scribe.add(item_id, str(event.get("delta") or ""))

    def _transcript_of_user(self, item_id: str, event: Mapping[str, Any]) -> None:
        self._scribe.complete(item_id, str(event.get("transcript") or ""))

    def _transcription_failed(self, item_id: str, _event: Mapping[str, Any]) -> None:
        self._scribe.end(item_id)

    def _delta(self, item_id: str, event: Mapping[str, Any]) -> None:
        if self._wants(event.get("response_id")):
            self._scribe.add(item_id, str(event.get("delta") or ""))

    def _whole(self, item_id: str, event: Mapping[str, Any]) -> None:
        text = event.get("transcript", event.get("text"))
        if self._wants(event.get("response_id")) and isinstance(text, str):
            self._scribe.complete(item_id, text)


_HANDLERS: dict[str, Callable[[Stenographer, str, Mapping[str, Any]], None]] = with_retired_names(
    {
        "input_audio_buffer.committed": Stenographer._turn_committed,
        "conversation.item.added": Stenographer._item_added,
        "conversation.item.truncated": Stenographer._truncated,
        "conversation.item.deleted": Stenographer._deleted,
        "conversation.item.input_audio_transcription.delta": Stenographer._delta_of_user,
        "conversation.item.input_audio_transcription.completed": Stenographer._transcript_of_user,
        "conversation.item.input_audio_transcription.failed": Stenographer._transcription_failed,
        "response.output_text.delta": Stenographer._delta,
        "response.output_audio_transcript.delta": Stenographer._delta,
        "response.output_text.done": Stenographer._whole,
        "response.output_audio_transcript.done": Stenographer._whole,
    }
)
