"""Which items are known, where those of the conversation stand, and how much is kept. Bookkeeping for the mirror."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .items import Item, Part

__all__ = ["Order", "remember"]

_IMAGE_CHARACTERS = 64 * 1024 * 1024  # of data URIs: the one thing in an item that is large as a rule
_REMEMBERED = 1000  # ids of items that are gone, and of predecessors that were named but never seen


class Order:
    """The items of a conversation in their order, within a bound.

    Threads:
        One writes; :attr:`shown` is replaced, never changed, so that others may read it at any time.

    Args:
        make: Makes an item with an id.
        limit: How many items are kept; beyond it the ones that came first are dropped.

    Attributes:
        known: By id, in the order of their coming; those too that have not joined the conversation yet.
        shown: The conversation.
        dropped: How many items of it were dropped.
        left_behind: Those of them that were not lost before.
    """

    def __init__(self, make: Callable[[str], Item], limit: int) -> None:
        self.known: dict[str, Item] = {}
        self.shown: tuple[Item, ...] = ()
        self.dropped = 0
        self.left_behind = 0
        self._make = make
        self._limit = limit
        self._gone: dict[str, None] = {}  # deleted or dropped: what is still told of them brings nothing back
        self._images: dict[Part, int] = {}  # those that are kept, with their size; oldest first
        self._awaited: dict[str, Item] = {}  # by predecessors that were named before they were seen: who follows

    def loose(self, item_id: str) -> Item | None:
        """Return an item, made known if it is new, but not part of the conversation; ``None`` if it is gone."""
        item = self.known.get(item_id)
        if item is None and item_id not in self._gone:
            item = self.known[item_id] = self._make(item_id)
            self._trim()
        return item

    def join(
        self, item_id: str, event: Mapping[str, Any], *, anew: bool = False, following: Item | None = None
    ) -> Item | None:
        """Return an item of the conversation, put into its place; ``None`` if it is gone.

        Args:
            item_id: Which one.
            event: What told of it, perhaps with a ``previous_item_id``.
            anew: An item that is gone may come again.
            following: One that comes after it, if its place is not told.
        """
        known = self.known.get(item_id)
        if known is not None and known.lost:
            self.remove(item_id)
            anew = True
        if anew:
            self._gone.pop(item_id, None)
        item = self.loose(item_id)
        if item is not None and not item.placed:
            self._put(item, event.get("previous_item_id", ""), following)
        return item

    def remove(self, item_id: str) -> Item | None:
        """Take an item out; return it if it was known."""
        item = self.known.pop(item_id, None)
        remember(self._gone, item_id)
        if item is not None and item.joined:
            self._close_gap(item)
        for part in () if item is None else item.parts.values():
            self._images.pop(part, None)
        return item

    def bound_images(self, item: Item) -> None:
        """Keep the pictures of an item, and no more than the bound of the older ones."""
        new = [part for part in item.parts.values() if part.image_url is not None]
        self._images.update((part, len(part.image_url or "")) for part in new)
        while new and sum(self._images.values()) > _IMAGE_CHARACTERS:
            oldest = next(iter(self._images))
            oldest.image_url = None
            del self._images[oldest]

    def forget_connection(self) -> None:
        """Let go of what the lost connection has not told to the end."""
        self._awaited.clear()
        for item in [item for item in self.known.values() if not item.joined]:
            del self.known[item.id]

    def _close_gap(self, item: Item) -> None:
        at = self.shown.index(item)
        self.shown = (*self.shown[:at], *self.shown[at + 1 :])
        for previous in [previous for previous, follower in self._awaited.items() if follower is item]:
            del self._awaited[previous]
            if at < len(self.shown):
                self._awaited[previous] = self.shown[at]

    def _put(self, item: Item, previous: object, following: Item | None) -> None:
        """Place an item where the server says, else where it probably is; a later word may correct a guess."""
        at = self._told_place(previous)
        item.placed = at is not None
        if item.joined:
            if at is not None:
                self._move(item, at)
            return
        following = self._awaited.pop(item.id, following)
        if at is None and isinstance(previous, str) and previous:
            following = self._awaited.get(previous)  # what came behind the same one before comes behind this now
            remember(self._awaited, previous, item)
        if at is None:
            at = self.shown.index(following) if following in self.shown else len(self.shown)
        self.shown = (*self.shown[:at], item, *self.shown[at:])
        item.joined = True

    def _move(self, item: Item, at: int) -> None:
        now = self.shown.index(item)
        if now != at:
            without = (*self.shown[:now], *self.shown[now + 1 :])
            at -= now < at
            self.shown = (*without[:at], item, *without[at:])

    def _told_place(self, previous: object) -> int | None:
        """Return the index behind a predecessor, ``None`` where it is not known.

        Lost items are not in the server's order: what it says comes behind them.
        """
        shown = self.shown
        if previous is None:
            at = 0
        else:
            before = self.known.get(previous) if isinstance(previous, str) else None
            if before is None or not before.joined:
                return None
            at = len(shown) if shown[-1] is before else shown.index(before) + 1
        while at < len(shown) and shown[at].lost:
            at += 1
        return at

    def _trim(self) -> None:
        while len(self.known) > self._limit:
            oldest = self.remove(next(iter(self.known)))
            if oldest is not None and oldest.joined:
                self.dropped += 1
                self.left_behind += not oldest.lost


def remember(book: dict[str, Any], key: str, value: Any = None, *, limit: int = _REMEMBERED) -> None:
    """Note something in a book that forgets the oldest."""
    book[key] = value
    if len(book) > limit:
        del book[next(iter(book))]
