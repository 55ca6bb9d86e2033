"""What microphones and speakers have in common: they are open from the beginning, until somebody closes them."""

from __future__ import annotations

import abc
import warnings
from types import TracebackType
from typing import TypeVar

__all__ = ["Closable"]

C = TypeVar("C", bound="Closable")


class Closable(abc.ABC):
    """Something that is to be closed, best by ``with``; who forgets it is warned."""

    _closed = True  # until there is something to close

    @abc.abstractmethod
    def start(self) -> None:
        """Let it run."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of it."""

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def __enter__(self: C) -> C:  # noqa: PYI019 - Self needs 3.11
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._closed:
            return
        self.close()
        warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=1)
