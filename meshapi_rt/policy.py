"""When and how often a session that lost its connection connects again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs

from .errors import (
    ConfigurationError,
    ConnectionLost,
    ConnectRefused,
    ErrorKind,
    MeshAPIError,
    RealtimeError,
    reconnectable_codes,
    remedy,
)
from .waiting import seconds

__all__ = ["ReconnectPolicy"]

# protocol.md 1.10: going away, internal error, restart, try later, and the local views of no close frame.
_CLOSE_CODES = frozenset({1001, 1005, 1006, 1011, 1012, 1013})

_LONGEST_ASKED = 3600.0  # seconds of a Retry-After; more is a mistake, or no use to a session that waits


def _is_count(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"{attribute.name} must be a whole number, 0 or more; not {value!r}")


def _is_duration(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is None:
        raise ConfigurationError(f"{attribute.name} must be a number of seconds")
    seconds(attribute.name, value)


@attrs.frozen(kw_only=True)
class ReconnectPolicy:
    """What ``connect(..., reconnect=...)`` does when the connection ends before the session is closed.

    Attributes:
        attempts: Tries per drop until the session counts as lost.
        per_session: Drops that are survived in the life of a session; ``None`` for any number.
        delay: Seconds before the second try of a drop; it doubles with each further one.
        max_delay: Seconds between two tries at most; a server's ``Retry-After`` may ask for more.
        jitter: How much of each delay is left to chance, 0 to 1, so that many clients do not come at once.
        timeout: Seconds for each try, with the restoring of the conversation.
        codes: The server's error codes after which a new connection is tried.
        close_codes: The close codes after which it is, where no error event came before them.
        lifetime: Seconds after which the server is expected to end a connection: a new one is opened before
            that, in a gap of the conversation. The earlier of this and the session's ``expires_at`` counts.
        renew_before: Seconds before that from which such a gap is looked for.
        renew_at_last: Seconds before that at which it is done without a gap.
        restore_items: The newest items of the conversation that are restored.
    """

    attempts: int = attrs.field(default=8, validator=_is_count)
    per_session: int | None = attrs.field(default=None, validator=attrs.validators.optional(_is_count))
    delay: float = attrs.field(default=0.5, validator=_is_duration)
    max_delay: float = attrs.field(default=8.0, validator=_is_duration)
    jitter: float = attrs.field(default=0.3, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    timeout: float = attrs.field(default=10.0, validator=_is_duration)
    codes: Collection[str] = attrs.field(factory=reconnectable_codes)
    close_codes: Collection[int] = _CLOSE_CODES
    lifetime: float = attrs.field(default=1800.0, validator=_is_duration)
    renew_before: float = attrs.field(default=120.0, validator=_is_duration)
    renew_at_last: float = attrs.field(default=15.0, validator=_is_duration)
    restore_items: int = attrs.field(default=200, validator=_is_count)

    def survives(self, end: MeshAPIError) -> bool:
        """Tell whether a new connection is worth a try after *end*."""
        if isinstance(end, RealtimeError) and (end.code in self.codes or remedy(end.code)):
            return (
                end.code in self.codes
            )  # any other code, of a request that was refused before, says nothing of the end
        if isinstance(end, (RealtimeError, ConnectionLost)):
            return end.close_code in self.close_codes
        return False

    def pause_before(self, attempt: int, failure: MeshAPIError | None, chance: float | None = None) -> float:
        """Return the seconds to wait before the try number *attempt*, from 1.

        Args:
            attempt: Which try; the first comes at once.
            failure: Why the one before failed: a server may have said when to come again.
            chance: 0 to 1, instead of a random number.
        """
        asked = min(getattr(failure, "retry_after", None) or 0.0, _LONGEST_ASKED)
        if attempt <= 1:
            return float(asked)
        delay = min(self.max_delay, self.delay * 2.0 ** min(attempt - 2, 60))
        import random  # noqa: PLC0415 - of those that try again

        luck = random.random() if chance is None else chance  # noqa: S311 - no secret
        return max(float(asked), delay * (1 - self.jitter * luck))

    def gives_up_on(self, failure: MeshAPIError) -> bool:
        """Tell whether a failed try shows that further ones would fail the same way."""
        return isinstance(failure, ConnectRefused) and failure.kind is ErrorKind.FATAL
