"""What a session does by the clock: keep a used connection from idling out, and renew it before its known end. Pure."""

from __future__ import annotations

import math

import attrs

from .policy import ReconnectPolicy

__all__ = ["Upkeep"]

# An expires_at outside of this many seconds ahead is a clock that is wrong, not an end that is near.
_CREDIBLE = (60.0, 7200.0)
_APART = 60.0  # seconds between two renewals at least


@attrs.define(eq=False)
class Upkeep:
    """Decides by times that it is given, all on the monotonic clock.

    Attributes:
        keepalive: Seconds without a client frame after which one is sent; ``None`` for never.
        keepalive_for: Seconds after the caller's last send or receive until that stops; ``None`` for never.
        policy: When to renew; ``None`` for never.
    """

    keepalive: float | None
    keepalive_for: float | None
    policy: ReconnectPolicy | None
    _connected: float = -math.inf
    _expires: float = math.inf
    _kept: float = -math.inf

    def connected(self, now: float, expires_in: float | None) -> None:
        """Note a new connection; *expires_in* is what its server says of its end, in seconds from now."""
        self._connected = self._kept = now
        credible = expires_in is not None and _CREDIBLE[0] <= expires_in <= _CREDIBLE[1]
        self._expires = now + expires_in if credible and expires_in is not None else math.inf

    def keepalive_due(self, now: float, last_asked: float | None, last_used: float) -> float:
        """Return the seconds until a keepalive is due or should be looked at again, 0 for now, infinity for never."""
        if self.keepalive is None:
            return math.inf
        if self.keepalive_for is not None and now - last_used > self.keepalive_for:
            return self.keepalive  # unused now, but that may change
        quiet_since = max(self._kept, last_asked or -math.inf)
        return max(0.0, quiet_since + self.keepalive - now)

    def kept(self, now: float) -> None:
        """Note that a keepalive was handed over."""
        self._kept = now

    def renewal_due(self, now: float) -> tuple[float, float]:
        """Return the seconds until a gap is to be looked for, and until it is done without one."""
        if self.policy is None:
            return math.inf, math.inf
        end = min(self._connected + self.policy.lifetime, self._expires)
        earliest = self._connected + min(_APART, self.policy.lifetime / 2)
        gap = max(earliest, end - self.policy.renew_before)
        return max(0.0, gap - now), max(0.0, max(gap, end - self.policy.renew_at_last) - now)
