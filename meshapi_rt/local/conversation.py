"""The default conversation: items in order, and what clients may do to it (protocol.md 2.1, 4.8)."""

from __future__ import annotations

from .failures import Refusal
from .items import Item, Part

__all__ = ["Conversation"]

_NOT_TRUNCATABLE = "Only model output audio messages can be truncated"


class Conversation:
    """Items in order. Pure bookkeeping: no events, no thread."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def __contains__(self, item_id: object) -> bool:
        return any(item.id == item_id for item in self.items)

    def find(self, item_id: str) -> Item | None:
        """Return the item of that id, or ``None``."""
        return next((item for item in self.items if item.id == item_id), None)

    def predecessor(self, item_id: str) -> str | None:
        """Return the id of the item before, ``None`` for the first one."""
        before = None
        for item in self.items:
            if item.id == item_id:
                return before
            before = item.id
        return None

    @property
    def tail(self) -> str | None:
        """The id of the last item."""
        return self.items[-1].id if self.items else None

    def append(self, item: Item) -> None:
        """Add an item that the server made."""
        self.items.append(item)

    def insert(self, item: Item, previous_item_id: str | None) -> None:
        """Add an item of the client.

        Args:
            item: Its id must be new.
            previous_item_id: ``None`` for the end, ``"root"`` for the front, else an item's id.

        Raises:
            Refusal: The id is taken, the predecessor unknown, or the output belongs to no call.
        """
        if item.id in self:
            raise Refusal(
                "item_create_duplicate_item_id",
                f"Error adding item: an item with id '{item.id}' already exists.",
                "item.id",
            )
        if previous_item_id not in (None, "root") and previous_item_id not in self:
            raise Refusal(
                "item_create_invalid_previous_item_id",
                f"Error adding item: the previous item with id '{previous_item_id}' does not exist.",
                "previous_item_id",
            )
        if item.type == "function_call_output" and not self._has_call(item.fields["call_id"]):
            raise Refusal.invalid("item.call_id", f"no function call '{item.fields['call_id']}' is known")
        if previous_item_id is None:
            self.items.append(item)
        elif previous_item_id == "root":
            self.items.insert(0, item)
        else:
            at = next(index for index, other in enumerate(self.items) if other.id == previous_item_id)
            self.items.insert(at + 1, item)

    def _has_call(self, call_id: str) -> bool:
        return any(item.type == "function_call" and item.fields["call_id"] == call_id for item in self.items)

    def retrieve(self, item_id: str) -> Item:
        """Return an item.

        Raises:
            Refusal: There is none of that id.
        """
        return self._existing(item_id, "retrieve", "retrieving")

    def delete(self, item_id: str) -> None:
        """Take an item out; its neighbours close the gap.

        Raises:
            Refusal: There is none of that id.
        """
        self.items.remove(self._existing(item_id, "delete", "deleting"))

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut the assistant's audio, and forget the whole transcript of the part (protocol.md 4.8).

        Raises:
            Refusal: No such item, no audio of the assistant, or not as much audio.
        """
        part = self._spoken_part(self._existing(item_id, "truncate", "truncating"), content_index)
        assert part.sound is not None
        if audio_end_ms > part.sound.ms:
            raise Refusal(
                "invalid_value",
                f"Audio content of {part.sound.ms}ms is already shorter than {audio_end_ms}ms",
                "audio_end_ms",
            )
        part.sound.cut(audio_end_ms)
        part.fields["transcript"] = None
        part.truncated = True

    def _existing(self, item_id: str, verb: str, doing: str) -> Item:
        item = self.find(item_id)
        if item is None:
            raise Refusal(
                f"item_{verb}_invalid_item_id",
                f"Error {doing} item: the item with id '{item_id}' does not exist.",
            )
        return item

    @staticmethod
    def _spoken_part(item: Item, content_index: int) -> Part:
        spoken = item.role == "assistant" and any(part.sound is not None for part in item.parts)
        if not spoken:
            raise Refusal("unsupported_content_type", _NOT_TRUNCATABLE)
        if content_index >= len(item.parts):
            raise Refusal.invalid("content_index", f"the item has {len(item.parts)} content parts")
        if item.parts[content_index].sound is None:
            raise Refusal("unsupported_content_type", _NOT_TRUNCATABLE)
        return item.parts[content_index]
