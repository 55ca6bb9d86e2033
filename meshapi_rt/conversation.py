"""The conversation as a user sees it: snapshots of the mirror, and what they look like in print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from . import pcm
from .errors import ConfigurationError
from .history import History
from .items import Item, Part
from .keeping import AudioKeeper

__all__ = ["ContentPart", "ConversationItem", "ConversationView"]

_LONGEST_SHOWN = 300  # characters of a tool's arguments or output in print
_DECODERS = {"audio/pcmu": pcm.ulaw_decode, "audio/pcma": pcm.alaw_decode}


@attrs.frozen(kw_only=True)
class ContentPart:
    """One content part of a message, as it was when it was looked at.

    Attributes:
        type: ``input_text``, ``input_audio``, ``input_image``, ``output_text`` or ``output_audio``; others as the
            server names them.
        text: The text, or the transcript of the audio, as far as it is known and was heard; ``None`` where none is.
        audio_ms: Length of the audio in milliseconds, what was not heard of it included; ``None`` where there is
            none, or its length is not known.
        heard_ms: Where the audio was truncated, in milliseconds; ``None`` where it was not.
        heard_estimate: *text* was cut there by an estimate: transcript and audio cannot be aligned.
        image_url: Of an image: the data URI. ``None`` elsewhere, and where it was dropped to bound the memory.
    """

    type: str
    text: str | None = None
    audio_ms: int | None = None
    heard_ms: int | None = None
    heard_estimate: bool = False
    image_url: str | None = attrs.field(default=None, repr=False)

    @property
    def is_audio(self) -> bool:
        """Whether it is speech, of either side."""
        return self.type in ("input_audio", "output_audio")


@attrs.frozen(kw_only=True)
class ConversationItem:
    """One item of the conversation, as it was when it was looked at.

    Attributes:
        id: The item's id.
        type: ``message``, ``function_call``, ``function_call_output``, or one of the ``mcp`` types.
        role: ``user``, ``assistant`` or ``system`` for messages, else ``None``.
        status: ``in_progress``, ``completed`` or ``incomplete``; ``None`` where the server told none.
        parts: The content of a message, in its order.
        name: Of a tool call.
        call_id: Of a tool call and of its output.
        arguments: Of a tool call: a JSON string, as the model wrote it; ``None`` elsewhere.
        output: What the tool gave, in its output item and in the call that it answers; ``None`` before that.
        made_by: Who made the item: ``speech`` is the user's, committed from the input buffer; ``response`` is the
            model's; ``client`` is one that was created with ``conversation.item.create``.
        response_id: Of the response that made it; ``None`` elsewhere.
        lost: It could not be restored after a reconnect: the server does not know of it any more.
    """

    id: str
    type: str
    role: str | None
    status: str | None
    parts: tuple[ContentPart, ...] = ()
    name: str | None = None
    call_id: str | None = None
    arguments: str | None = None
    output: str | None = None
    made_by: Literal["speech", "response", "client"] = "client"
    response_id: str | None = None
    lost: bool = False

    @property
    def complete(self) -> bool:
        """Whether it was finished, and not cut short."""
        return self.status == "completed"

    @property
    def text(self) -> str | None:
        """What was written, parts joined by line ends; ``None`` where nothing was."""
        return _joined("\n", (part for part in self.parts if not part.is_audio))

    @property
    def transcript(self) -> str | None:
        """What was spoken, by either side, as far as it is known and was heard; ``None`` where nothing is known.

        The transcript of the user's speech comes later than the item, perhaps after the answer, and only if
        transcription is on.
        """
        return _joined(" ", (part for part in self.parts if part.is_audio))

    @property
    def audio_ms(self) -> int | None:
        """The length of its audio in milliseconds, as in :class:`ContentPart`."""
        return _sum(part.audio_ms for part in self.parts)

    @property
    def heard_ms(self) -> int | None:
        """How much of its audio was heard, in milliseconds; ``None`` where it was not truncated."""
        if all(part.heard_ms is None for part in self.parts):
            return None
        return _sum(part.audio_ms if part.heard_ms is None else part.heard_ms for part in self.parts)

    @property
    def heard_estimate(self) -> bool:
        """Whether the transcript was cut by an estimate of what was heard."""
        return any(part.heard_estimate for part in self.parts)

    def __str__(self) -> str:
        """Show it as a line of a dialogue."""
        return f"{self._speaker()}: {self._content()}{self._marks()}".replace("\n", "\n    ")

    def _speaker(self) -> str:
        if self.type == "message":
            return self.role or "somebody"
        if self.type == "function_call_output":
            return "tool"
        return "assistant" if self.type == "function_call" else self.type

    def _content(self) -> str:
        if self.type == "message":
            return " ".join(_shown(part) for part in self.parts) or "(nothing)"
        if self.type == "function_call_output":
            return f"{_clipped(self.output or '')} (answers {self.call_id})"
        if self.name is None:
            return "(no message)"
        answer = "" if self.output is None else f" → {_clipped(self.output)}"
        return f"calls {self.name}({_clipped(self.arguments or '')}){answer}"

    def _marks(self) -> str:
        marks = []
        if self.heard_ms is not None:
            about = ", the words are an estimate" if self.heard_estimate else ""
            marks.append(f"interrupted at {self.heard_ms / 1000:.1f} s{about}")
        elif self.status == "incomplete":
            marks.append("unfinished")
        if self.status == "in_progress":
            marks.append("in progress")
        if self.lost:
            marks.append("lost in a reconnect")
        return "".join(f" [{mark}]" for mark in marks)


class ConversationView:
    """The conversation, in its order, as the server's events tell it. Always the latest: it is no copy.

    ``len``, iteration and indexing, by an item's id or by its place, give snapshots. ``str()`` gives a readable
    dialogue. Out-of-band responses never join. At most 10,000 items are kept; :attr:`dropped` counts those before.

    Threads:
        Any thread may look at any time. Neither does the reader wait for that, nor the other way round: there is no
        lock. The mirror replaces what others look through instead of changing it, so a look sees items and order
        of one moment; an item that is told of in that moment may show its text before its status, never a status
        without its text.

    Args:
        history: The mirror.
        keeper: Where audio is kept; ``None`` where it is not.
    """

    def __init__(self, history: History, keeper: AudioKeeper | None) -> None:
        self._history = history
        self._keeper = keeper

    @property
    def items(self) -> tuple[ConversationItem, ...]:
        """Snapshots of the items, in the order of the conversation."""
        shown = self._history.items
        outputs = {item.call_id: item.output for item in shown if item.type == "function_call_output"}
        return tuple(self._snapshot(item, outputs.get(item.call_id)) for item in shown)

    @property
    def dropped(self) -> int:
        """How many items are not shown any more, because there were too many."""
        return self._history.dropped

    def __len__(self) -> int:
        return len(self._history.items)

    def __iter__(self) -> Iterator[ConversationItem]:
        return iter(self.items)

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and self._history.find(item_id) is not None

    def __getitem__(self, key: str | int) -> ConversationItem:
        """Return an item by its id, or by its place; -1 is the last one.

        Raises:
            KeyError: No item of the conversation has that id.
            IndexError: It does not have so many items.
        """
        shown = self._history.items
        item = self._history.find(key) if isinstance(key, str) else shown[key]
        if item is None:
            raise KeyError(f"the conversation has no item {key!r}")
        answers = (
            other.output
            for other in shown
            if item.type == "function_call" and other.type == "function_call_output" and other.call_id == item.call_id
        )
        return self._snapshot(item, next(answers, None))

    def audio(self, item_id: str) -> NDArray[np.int16] | None:
        """Return the audio of an item, of either side, where it is kept.

        Args:
            item_id: The item's id.

        Returns:
            Samples at 24 kHz, shape ``(frames,)``, ``int16``: of a turn of the user what was committed, of an answer
            what has come so far, to the point where it was truncated. ``None`` for an item without audio, for one
            that is not of the conversation, and for one whose audio was dropped: at most ``max_kept_audio_bytes``
            are kept, and the oldest items go first.

        Raises:
            ConfigurationError: The session was opened without ``keep_audio=True``.
            MissingExtraError: The answer came as G.711, and soxr, from the ``[audio]`` extra, is not installed.
        """
        if self._keeper is None:
            raise ConfigurationError("audio is kept only with connect(..., keep_audio=True); this session keeps none")
        item = self._history.find(item_id)
        data = None if item is None else self._keeper.audio_of(item_id)
        if item is None or data is None:
            return None
        heard = [part.heard_ms * part.bytes_per_ms for part in item.parts.values() if part.heard_ms is not None]
        data = data[: min(heard, default=len(data))]
        if item.audio_format in _DECODERS and item.role == "assistant":
            return pcm.resample(_DECODERS[item.audio_format](data), 8000, 24000)
        return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)

    def __str__(self) -> str:
        """Show it as a dialogue: who said what, tools, images, and what was cut short."""
        items, dropped = self.items, self.dropped
        lines = [f"({dropped:,} older items are not kept)"] if dropped else []
        answered = {item.call_id for item in items if item.type == "function_call"}
        for item in items:
            if item.type != "function_call_output" or item.call_id not in answered:  # else its call shows it
                lines.append(str(item))  # noqa: PERF401
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<ConversationView of {len(self)} items>"

    def _repr_html_(self) -> str:
        from .notebook import conversation_html  # noqa: PLC0415 - only notebooks need it

        return conversation_html(self)

    def _snapshot(self, item: Item, answer: str | None) -> ConversationItem:
        status = item.status  # before what it is about, which is written in the other order
        is_call = item.type in ("function_call", "mcp_call", "mcp_approval_request")
        parts = tuple(self._part(item, part) for _, part in sorted(item.parts.items()))
        return ConversationItem(
            id=item.id,
            type=item.type,
            role=item.role,
            status=status,
            parts=parts,
            name=item.name,
            call_id=item.call_id,
            arguments=item.arguments if is_call else None,
            output=answer if item.type == "function_call" else item.output,
            made_by=item.made_by,
            response_id=item.response_id,
            lost=item.lost,
        )

    def _part(self, item: Item, part: Part) -> ContentPart:
        (said, estimated), length = part.estimate(), part.audio_ms
        if length is None and part.type == "input_audio" and self._keeper is not None and len(item.parts) == 1:
            kept = self._keeper.length_of(item.id)
            length = None if kept is None else kept // 48
        return ContentPart(
            type=part.type,
            text=said,
            audio_ms=length,
            heard_ms=part.heard_ms,
            heard_estimate=estimated,
            image_url=part.image_url,
        )


def _joined(between: str, parts: Iterator[ContentPart]) -> str | None:
    texts = [part.text for part in parts if part.text]
    return between.join(texts) if texts else None


def _sum(lengths: Iterator[int | None]) -> int | None:
    known = [length for length in lengths if length is not None]
    return sum(known) if known else None


def _shown(part: ContentPart) -> str:
    if part.text:
        return part.text
    if part.type == "input_image":
        return "(image)"
    if part.is_audio:
        return "(audio)" if part.audio_ms is None else f"(audio, {part.audio_ms / 1000:.1f} s)"
    return ""


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
