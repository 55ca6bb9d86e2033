"""What a session counts, and the snapshot of it that a user sees."""

from __future__ import annotations

import time

import attrs

__all__ = ["Counters", "SessionStats"]


@attrs.frozen(kw_only=True)
class SessionStats:
    """A snapshot of a session, over all its connections.

    Attributes:
        frames_sent: WebSocket frames sent, pings and pongs included.
        frames_received: Messages and control frames received.
        bytes_sent: On the wire, before TLS.
        bytes_received: On the wire, after TLS.
        unread_messages: Messages that wait for a consumer.
        unread_bytes: What they are charged for, against ``max_unread_bytes``.
        unread_peak: The most messages that ever waited.
        stalls: How often reading stopped because too much was unread.
        unread_beyond: Messages taken in all the same, because a call was waiting for its answer.
        ping_round_trip: Seconds from the last answered ping to its pong; ``None`` before the first.
        reconnects: How often a new connection took over.
        dropped_sends: Sends given up because there was no connection: audio, cancel and truncate.
        last_sent: Unix time of the last frame that went out; ``None`` before the first.
        last_received: Unix time of the last bytes that came.
    """

    frames_sent: int
    frames_received: int
    bytes_sent: int
    bytes_received: int
    unread_messages: int
    unread_bytes: int
    unread_peak: int
    stalls: int
    unread_beyond: int
    ping_round_trip: float | None
    reconnects: int
    dropped_sends: int
    last_sent: float | None
    last_received: float | None


@attrs.define(eq=False, repr=False)
class Counters:
    """The counts behind it. Each attribute has one writer at a time: whoever reads, or whoever holds the frame lock."""

    frames_sent: int = 0
    bytes_sent: int = 0
    last_sent: float | None = None  # monotonic, of a frame that the session sent by itself
    last_asked: float | None = None  # monotonic, of one that a caller sent
    frames_received: int = 0
    bytes_received: int = 0
    last_received: float | None = None  # monotonic
    ping_round_trip: float | None = None
    stalls: int = 0
    reconnects: int = 0

    def snapshot(
        self, *, unread_messages: int, unread_bytes: int, unread_peak: int, unread_beyond: int, dropped_sends: int
    ) -> SessionStats:
        """Return them as a user sees them, with what others count."""
        shift = time.time() - time.monotonic()
        sent = [at for at in (self.last_sent, self.last_asked) if at is not None]
        return SessionStats(
            frames_sent=self.frames_sent,
            frames_received=self.frames_received,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            unread_messages=unread_messages,
            unread_bytes=unread_bytes,
            unread_peak=unread_peak,
            unread_beyond=unread_beyond,
            stalls=self.stalls,
            ping_round_trip=self.ping_round_trip,
            reconnects=self.reconnects,
            dropped_sends=dropped_sends,
            last_sent=max(sent) + shift if sent else None,
            last_received=None if self.last_received is None else self.last_received + shift,
        )
