"""Faults that wait: how often each may still happen, and whether its moment has come. Pure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .faults import Fault, Scripted, Twist

__all__ = ["Armed", "Watch"]

log = logging.getLogger("meshapi_rt")


class Armed:
    """A fault, and how often it may still happen on all connections together.

    Attributes:
        fault: What happens.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._left = fault.times

    def take(self) -> bool:
        """Let it happen; false where it has happened often enough."""
        if self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True


class Watch:
    """Watches one connection for the moment of one fault.

    Attributes:
        fault: What happens then.
        live: The moment has come, for a fault that lasts.
    """

    def __init__(self, armed: Armed, number: int) -> None:
        assert isinstance(armed.fault, Scripted)
        self.fault: Scripted = armed.fault
        self.live = armed.fault.immediate
        self._armed = armed
        self._number = number
        self._seen = 0
        self._told = False

    def take(self) -> bool:
        """Let it happen, unless it has happened often enough."""
        if not self._armed.take():
            return False
        # A twist may concern every event: the first one is enough for people.
        quiet = self._told and isinstance(self.fault, Twist)
        log.log(logging.DEBUG if quiet else logging.INFO, "local server, connection %d: %r", self._number, self.fault)
        self._told = True
        return True

    def due(self, sender: str, event_type: str | None) -> bool:
        """Count a frame; true where it is the one that the fault waits for, or a later one."""
        fault = self.fault
        if fault.on is not None:
            if fault.on != event_type:
                return False
            least = fault.nth
        else:
            wanted = fault.sent if sender == "server" else fault.received
            if wanted is None:
                return False
            least = wanted
        self._seen += 1
        return self._seen >= least

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Tell whether a twist concerns an event that is about to be sent, and let it happen."""
        assert isinstance(self.fault, Twist)
        concerned = self.live or (self.fault.on is not None and self.due("server", event["type"]))
        return concerned and self.take()
