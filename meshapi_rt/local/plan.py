"""What one response shall be: the settings, and what ``response.create`` overrides (protocol.md 2.1)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .conversation import Conversation
from .failures import Refusal
from .formats import WireFormat, format_of
from .ids import new_id
from .items import Item
from .settings import SessionSettings
from .turn import Turn, TurnItem

__all__ = ["ResponsePlan", "make_plan"]


@attrs.frozen(kw_only=True)
class ResponsePlan:
    """Everything that is settled when a response begins.

    Attributes:
        id: The response's id.
        modality: ``audio`` or ``text``.
        format: The output format as the session object writes it.
        voice: A name, or an object with an id.
        speed: The session's; a response cannot override it.
        max_output_tokens: A number, or ``"inf"``.
        metadata: Echoed on the response, or ``None``.
        out_of_band: It does not join the conversation.
        context: The items that it reads.
    """

    id: str = attrs.field(factory=lambda: new_id("resp"))
    modality: str
    instructions: str
    tools: Sequence[dict[str, Any]]
    tool_choice: Any
    format: Mapping[str, Any]
    voice: Any
    speed: float
    max_output_tokens: Any
    metadata: Mapping[str, str] | None
    out_of_band: bool
    context: Sequence[Item]

    @property
    def wire_format(self) -> WireFormat:
        """The format of the audio that it makes."""
        return format_of(self.format)

    def turn(self, settings: SessionSettings) -> Turn:
        """Make the question that the responder is asked."""
        return Turn(
            items=tuple(TurnItem.of(item) for item in self.context),
            instructions=self.instructions,
            tools=copy.deepcopy(self.tools),  # the responder's own: it may do with them what it likes
            tool_choice=self.tool_choice,
            modality=self.modality,
            voice=self.voice,
            metadata=self.metadata,
            out_of_band=self.out_of_band,
            model=settings.model,
            session_id=settings.id,
            response_id=self.id,
        )


def make_plan(settings: SessionSettings, conversation: Conversation, wanted: Mapping[str, Any]) -> ResponsePlan:
    """Settle a response.

    Args:
        settings: The session's settings.
        conversation: What it reads, unless *wanted* brings its own ``input``.
        wanted: The validated ``response`` of ``response.create``, ``{}`` for none.

    Raises:
        Refusal: The voice is locked, the model does not reason, or ``input`` names an unknown item.
    """
    out_of_band = wanted.get("conversation") == "none"
    output = {**settings["audio"]["output"], **wanted.get("audio", {}).get("output", {})}
    if not out_of_band:  # whether these escape the lock is not known (protocol.md 7.15): here they do
        settings.check_voice(output["voice"], "response.audio.output.voice")
    if wanted.get("reasoning") is not None and not settings.reasoning:
        raise Refusal.invalid("response.reasoning", f"the model '{settings.model}' does not reason")
    context: Sequence[Item] = tuple(conversation.items)
    if "input" in wanted:
        context = _own_input(wanted["input"], settings, conversation)
    return ResponsePlan(
        modality=wanted.get("output_modalities", settings["output_modalities"])[0],
        instructions=wanted.get("instructions", settings["instructions"]),
        tools=wanted.get("tools", settings["tools"]),
        tool_choice=wanted.get("tool_choice", settings["tool_choice"]),
        format=output["format"],
        voice=output["voice"],
        speed=output["speed"],
        max_output_tokens=wanted.get("max_output_tokens", settings["max_output_tokens"]),
        metadata=wanted.get("metadata"),
        out_of_band=out_of_band,
        context=context,
    )


def _own_input(
    entries: Sequence[Mapping[str, Any]], settings: SessionSettings, conversation: Conversation
) -> list[Item]:
    items = []
    for index, entry in enumerate(entries):
        path = f"response.input[{index}]"
        if entry["type"] != "item_reference":
            items.append(Item.from_client(entry, path, settings.input_format))
            continue
        found = conversation.find(entry["id"])
        if found is None:
            raise Refusal.invalid(f"{path}.id", f"no item '{entry['id']}' is known")
        items.append(found)
    return items
