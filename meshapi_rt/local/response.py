"""The life of one response as events, in the order of protocol.md 4.4 to 4.9. Pure: no thread, no socket."""

from __future__ import annotations

import base64
import math
from typing import Any

from .conversation import Conversation
from .ids import new_call_id
from .items import Item, Part, Sound
from .plan import ResponsePlan
from .rendering import Rendered, Spoken, Written
from .usage import (
    CHARACTERS_PER_TOKEN,
    SPOKEN_MS_PER_TOKEN,
    ContextTokens,
    count_context,
    response_usage,
)
from .values import Fail, ToolCall

__all__ = ["Event", "ResponseBuilder"]

Event = dict[str, Any]
_ARGUMENT_CHARACTERS = 12  # per delta


class ResponseBuilder:
    """Turns rendered pieces into events; keeps the items, also those of the conversation, as it goes.

    Args:
        plan: What the response shall be.
        conversation: Where its items go, or ``None`` for an out-of-band response.
        conversation_id: The id of that conversation, or ``None``.

    Attributes:
        over: The response is done; nothing more may be added.
        output_tokens: What it has made so far.
        audio_ms: How long its audio plays.
    """

    def __init__(self, plan: ResponsePlan, conversation: Conversation | None, conversation_id: str | None) -> None:
        self.plan = plan
        self.over = False
        self._conversation = conversation
        self._conversation_id = conversation_id
        self._context: ContextTokens = count_context(plan.context, plan.instructions, plan.tools)
        self._output: list[Item] = []
        self._message: Item | None = None  # the open message: it is the last of the output
        self._said = ""  # the text or transcript of the open message
        self._characters = 0
        self._audio_bytes = 0

    @property
    def text_tokens(self) -> int:
        """Tokens of text, transcripts and arguments made so far."""
        return math.ceil(self._characters / CHARACTERS_PER_TOKEN)

    @property
    def audio_ms(self) -> float:
        """The playing time of the audio made so far."""
        return self._audio_bytes / self.plan.wire_format.bytes_per_ms

    @property
    def audio_tokens(self) -> int:
        """Tokens of audio made so far."""
        return math.ceil(self.audio_ms / SPOKEN_MS_PER_TOKEN)

    @property
    def total_tokens(self) -> int:
        """What the response read and made."""
        return self._context.total + self.text_tokens + self.audio_tokens

    def begin(self) -> list[Event]:
        """Announce the response."""
        return [{"type": "response.created", "response": self._response("in_progress", None, None)}]

    def add(self, piece: Rendered) -> list[Event]:
        """Add one piece. A piece that passes ``max_output_tokens`` is cut, and ends the response."""
        assert not self.over
        if isinstance(piece, Written):
            return self._add_text(piece.delta)
        if isinstance(piece, Spoken):
            return self._add_audio(piece.delta)
        if isinstance(piece, ToolCall):
            return self._add_call(piece)
        return self.fail(piece)

    def complete(self) -> list[Event]:
        """End it well."""
        return self._finish("completed", None)

    def cancel(self, reason: str) -> list[Event]:
        """End it early: *reason* is ``client_cancelled`` or ``turn_detected``."""
        return self._finish("cancelled", {"type": "cancelled", "reason": reason})

    def fail(self, failure: Fail) -> list[Event]:
        """End it with an error."""
        error = {"type": failure.type, "code": failure.code, "message": failure.message}
        return self._finish("failed", {"type": "failed", "error": error})

    # -- pieces ------------------------------------------------------------------------------------------

    def _left(self) -> float:
        limit = self.plan.max_output_tokens
        return math.inf if limit == "inf" else limit - self.text_tokens - self.audio_tokens

    def _cut_text(self, text: str) -> str:
        limit = self.plan.max_output_tokens
        if limit == "inf":
            return text
        room = (limit - self.audio_tokens) * CHARACTERS_PER_TOKEN - self._characters
        return text[: max(0, room)]

    def _exhausted(self) -> list[Event]:
        return self._finish("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})

    def _add_text(self, delta: str) -> list[Event]:
        events = self._open_message()
        cut = self._cut_text(delta)
        if cut:
            self._said += cut
            self._characters += len(cut)
            kind = "output_text" if self.plan.modality == "text" else "output_audio_transcript"
            events.append(self._content_event(f"response.{kind}.delta", delta=cut))
            part = self._part()
            if not part.truncated:
                part.fields["text" if self.plan.modality == "text" else "transcript"] = self._said
        return events if cut == delta else events + self._exhausted()

    def _add_audio(self, data: bytes) -> list[Event]:
        events = self._open_message()
        fmt = self.plan.wire_format
        left = self._left()
        room = len(data)
        if left < math.inf:
            limit = (self.audio_tokens + left) * SPOKEN_MS_PER_TOKEN * fmt.bytes_per_ms
            room = min(room, max(0, int(limit) - self._audio_bytes))
        cut = data[:room]
        if cut:
            self._audio_bytes += len(cut)
            encoded = base64.b64encode(cut).decode("ascii")
            events.append(self._content_event("response.output_audio.delta", delta=encoded))
            part = self._part()
            if not part.truncated and part.sound is not None:
                part.sound.append(cut)
        return events if len(cut) == len(data) else events + self._exhausted()

    def _add_call(self, call: ToolCall) -> list[Event]:
        events = self._close_message("completed")
        fields = {"call_id": call.call_id or new_call_id(), "name": call.name, "arguments": ""}
        item = Item("function_call", fields, status="in_progress")
        events += self._open(item)
        ids = {
            "response_id": self.plan.id,
            "item_id": item.id,
            "output_index": len(self._output) - 1,
            "call_id": fields["call_id"],
        }
        arguments = self._cut_text(call.arguments)
        self._characters += len(arguments)
        for at in range(0, len(arguments), _ARGUMENT_CHARACTERS):
            delta = arguments[at : at + _ARGUMENT_CHARACTERS]
            events.append({"type": "response.function_call_arguments.delta", **ids, "delta": delta})
        done = {"arguments": arguments, "name": call.name}
        events.append({"type": "response.function_call_arguments.done", **ids, **done})
        item.fields["arguments"] = arguments
        whole = arguments == call.arguments
        events += self._close(item, "completed" if whole else "incomplete")
        return events if whole else events + self._exhausted()

    # -- items -------------------------------------------------------------------------------------------

    def _part(self) -> Part:
        assert self._message is not None
        return self._message.parts[0]

    def _content_event(self, event_type: str, **fields: Any) -> Event:
        assert self._message is not None
        return {
            "type": event_type,
            "response_id": self.plan.id,
            "item_id": self._message.id,
            "output_index": len(self._output) - 1,
            "content_index": 0,
            **fields,
        }

    def _open(self, item: Item) -> list[Event]:
        """Let an item begin; in the conversation only after it was announced in the response."""
        self._output.append(item)
        events: list[Event] = [self._item_event("response.output_item.added", item)]
        if self._conversation is not None:
            self._conversation.append(item)
            events.append(self._joined_event("conversation.item.added", item))
        return events

    def _close(self, item: Item, status: str) -> list[Event]:
        item.status = status
        events: list[Event] = [self._item_event("response.output_item.done", item)]
        if self._conversation is not None and item.id in self._conversation:
            events.append(self._joined_event("conversation.item.done", item))
        return events

    def _item_event(self, event_type: str, item: Item) -> Event:
        index = len(self._output) - 1
        return {
            "type": event_type,
            "response_id": self.plan.id,
            "output_index": index,
            "item": item.wire(),
        }

    def _joined_event(self, event_type: str, item: Item) -> Event:
        assert self._conversation is not None
        before = self._conversation.predecessor(item.id)
        return {"type": event_type, "previous_item_id": before, "item": item.wire()}

    def _open_message(self) -> list[Event]:
        if self._message is not None:
            return []
        item = Item("message", {}, role="assistant", status="in_progress")
        events = self._open(item)
        self._message, self._said = item, ""
        if self.plan.modality == "text":
            item.parts.append(Part({"type": "output_text", "text": ""}))
            shown = {"type": "text", "text": ""}
        else:
            sound = Sound(self.plan.wire_format)
            item.parts.append(Part({"type": "output_audio", "transcript": ""}, sound))
            shown = {"type": "audio", "transcript": ""}
        events.append(self._content_event("response.content_part.added", part=shown))
        return events

    def _close_message(self, status: str) -> list[Event]:
        item = self._message
        if item is None:
            return []
        if self.plan.modality == "text":
            events = [self._content_event("response.output_text.done", text=self._said)]
            shown = {"type": "text", "text": self._said}
        else:
            events = [
                self._content_event("response.output_audio.done"),
                self._content_event("response.output_audio_transcript.done", transcript=self._said),
            ]
            shown = {"type": "audio", "transcript": self._said}
        events.append(self._content_event("response.content_part.done", part=shown))
        sound = self._part().sound
        if sound is not None:
            sound.finish()
        self._message = None
        return events + self._close(item, status)

    # -- the response ------------------------------------------------------------------------------------

    def _finish(self, status: str, details: dict[str, Any] | None) -> list[Event]:
        assert not self.over
        events = self._close_message("completed" if status == "completed" else "incomplete")
        self.over = True
        usage = response_usage(self._context, self.text_tokens, self.audio_tokens)
        events.append({"type": "response.done", "response": self._response(status, details, usage)})
        return events

    def _response(self, status: str, details: dict[str, Any] | None, usage: dict[str, Any] | None) -> dict[str, Any]:
        plan = self.plan
        voice = plan.voice["id"] if isinstance(plan.voice, dict) else plan.voice
        return {
            "object": "realtime.response",
            "id": plan.id,
            "status": status,
            "status_details": details,
            "output": [item.wire() for item in self._output],
            "conversation_id": self._conversation_id,
            "output_modalities": [plan.modality],
            "max_output_tokens": plan.max_output_tokens,
            "audio": {"output": {"format": dict(plan.format), "voice": voice}},
            "usage": usage,
            "metadata": None if plan.metadata is None else dict(plan.metadata),
        }
