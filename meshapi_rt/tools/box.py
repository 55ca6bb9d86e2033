"""``Toolbox``: the tools of a session, by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..errors import ConfigurationError
from .tool import Tool

__all__ = ["Toolbox"]


class Toolbox:
    """A collection of tools. Any thread may use it.

    Args:
        tools: Functions or tools to begin with.
        changed: Called after each change, on the thread that made it. Where it fails, the change is taken back.

    Raises:
        ConfigurationError: A name is taken twice, or something cannot be a tool.
        MissingExtraError: See :meth:`Tool.of`.
    """

    def __init__(
        self, tools: Iterable[Callable[..., Any] | Tool] = (), *, changed: Callable[[], object] | None = None
    ) -> None:
        # Guards _tools. Held for looking and changing only.
        self._lock = threading.Lock()
        # Held for a change and for telling of it, so that the last one told is the last one made.
        self._changing = threading.RLock()
        self._tools: dict[str, Tool] = {}
        self._changed: Callable[[], object] | None = None
        self.add(*tools)
        self._changed = changed

    def add(self, *tools: Callable[..., Any] | Tool) -> None:
        """Add tools, all or none.

        Raises:
            ConfigurationError: A name is taken already, or something cannot be a tool.
            MissingExtraError: See :meth:`Tool.of`.
        """
        made = [tool if isinstance(tool, Tool) else Tool.of(tool) for tool in tools]
        with self._changing:
            kept = {**self._tools}
            for tool in made:
                if tool.name in kept:
                    raise ConfigurationError(
                        f"there is already a tool named {tool.name!r}: remove it first, or give name="
                    )
                kept[tool.name] = tool
            if made:
                self._change(kept)

    def remove(self, name: str) -> None:
        """Remove a tool; calls of it that run go on.

        Raises:
            KeyError: There is none of that name.
        """
        with self._changing:
            kept = {**self._tools}
            del kept[name]
            self._change(kept)

    def _change(self, tools: dict[str, Tool]) -> None:
        before = self._set(tools)
        try:
            if self._changed is not None:
                self._changed()
        except BaseException:
            self._set(before)
            raise

    def _set(self, tools: dict[str, Tool]) -> dict[str, Tool]:
        with self._lock:
            before, self._tools = self._tools, tools
        return before

    def get(self, name: str) -> Tool | None:
        """Return the tool of that name, or ``None``."""
        with self._lock:
            return self._tools.get(name)

    def definitions(self) -> list[dict[str, Any]]:
        """Return the definitions of all, as the ``tools`` of a session take them."""
        return [tool.definition() for tool in self]

    def __iter__(self) -> Iterator[Tool]:
        with self._lock:
            return iter(list(self._tools.values()))

    def __len__(self) -> int:
        with self._lock:
            return len(self._tools)

    def __contains__(self, name: object) -> bool:
        with self._lock:
            return name in self._tools

    def __repr__(self) -> str:
        return f"<Toolbox of {', '.join(tool.name for tool in self) or 'nothing'}>"
