"""Policies and clocks: tables of times, without waiting for any."""

from __future__ import annotations

import math
from typing import Any

import pytest

from meshapi_rt import (
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    MeshAPIError,
    RealtimeError,
    ReconnectPolicy,
    SessionClosed,
)
from meshapi_rt.upkeep import Upkeep

POLICY = ReconnectPolicy()


@pytest.mark.parametrize(
    ("end", "survives"),
    [
        (ConnectionLost("x", close_code=1006), True),
        (ConnectionLost("x", close_code=1005), True),
        (ConnectionLost("x", close_code=1001), True),
        (ConnectionLost("x", close_code=1011), True),
        (ConnectionLost("x", close_code=1012), True),
        (ConnectionLost("x", close_code=1013), True),
        (ConnectionLost("x", close_code=1008), False),
        (ConnectionLost("x", close_code=1009), False),
        (ConnectionLost("x", close_code=4402), False),
        (ConnectionLost("x", close_code=4000), False),
        (SessionClosed("x"), False),
        (RealtimeError("session_expired", "x", close_code=1008), True),
        (RealtimeError("session_duration_exceeded", "x", close_code=1008), True),
        (RealtimeError("service_draining", "x", close_code=1011), True),
        (RealtimeError("idle_timeout", "x", close_code=1000), True),
        (RealtimeError("insufficient_quota", "x", close_code=1011), False),
        (RealtimeError("invalid_api_key", "x", close_code=1001), False),
        (RealtimeError("never_heard_of", "x", close_code=1011), True),
        (RealtimeError("never_heard_of", "x", close_code=1008), False),
        (RealtimeError("response_cancel_not_active", "x", close_code=1001), True),
        (RealtimeError(None, "x", close_code=1011), True),
    ],
)
def test_which_ends_are_survived(end: MeshAPIError, survives: bool) -> None:
    """By the error's code where there is one, else by the close code (protocol.md 1.8 and 1.10)."""
    assert POLICY.survives(end) is survives


def test_pauses_double_up_to_the_bound() -> None:
    """0.5 s, doubling to 8 s; the first try comes at once; jitter only shortens."""
    assert [POLICY.pause_before(n, None, 0.0) for n in range(1, 9)] == [0, 0.5, 1, 2, 4, 8, 8, 8]
    assert POLICY.pause_before(1000, None, 0.0) == 8
    assert POLICY.pause_before(6, None, 1.0) == pytest.approx(8 * 0.7)
    assert all(2.8 <= POLICY.pause_before(5, None) <= 4 for _ in range(100))


def test_retry_after_is_respected() -> None:
    """A server that names a time is not asked before."""
    failure = ConnectError("x", retry_after=20.0)
    assert POLICY.pause_before(1, failure, 0.0) == 20
    assert POLICY.pause_before(3, failure, 0.0) == 20
    assert POLICY.pause_before(6, ConnectError("x", retry_after=1.0), 0.0) == 8
    assert POLICY.pause_before(1, ConnectError("x", retry_after=1e12), 0.0) == 3600


def test_a_refusal_for_good_ends_the_tries() -> None:
    """The same attempt would fail again."""
    assert POLICY.gives_up_on(ConnectRefused("x", status=401))
    assert POLICY.gives_up_on(ConnectRefused("x", code="insufficient_quota"))
    assert not POLICY.gives_up_on(ConnectRefused("x", status=503))
    assert not POLICY.gives_up_on(ConnectRefused("x", code="concurrent_sessions_exceeded", status=429))
    assert not POLICY.gives_up_on(ConnectError("x"))


@pytest.mark.parametrize("wrong", [{"attempts": -1}, {"delay": -1}, {"lifetime": "long"}, {"per_session": 1.5}])
def test_a_policy_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    """Each field is named."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ReconnectPolicy(**wrong)


# -- the clock ---


def upkeep(**policy: Any) -> Upkeep:
    made = Upkeep(45.0, 1800.0, ReconnectPolicy(**policy))
    made.connected(1000.0, None)
    return made


def test_keepalive_is_due_after_45_seconds_without_an_event() -> None:
    """Counted from the last event of this side, or from the connection's beginning."""
    clock = upkeep()
    assert clock.keepalive_due(1000.0, None, 1000.0) == 45
    assert clock.keepalive_due(1050.0, 1040.0, 1040.0) == 35
    assert clock.keepalive_due(1100.0, 1040.0, 1040.0) == 0
    clock.kept(1100.0)
    assert clock.keepalive_due(1100.0, 1040.0, 1040.0) == 45


def test_keepalive_stops_for_a_forgotten_session() -> None:
    """30 minutes after the caller's last send or receive."""
    assert upkeep().keepalive_due(2799.0, None, 1000.0) == 0
    assert upkeep().keepalive_due(2801.0, None, 1000.0) == 45  # to look again
    assert Upkeep(45.0, None, None).keepalive_due(9999.0, None, 0.0) == 0
    assert Upkeep(None, 1800.0, None).keepalive_due(1000.0, None, 1000.0) == math.inf


def test_renewal_looks_for_a_gap_two_minutes_before_and_goes_15_seconds_before() -> None:
    """Of 30 minutes after the connection."""
    assert upkeep().renewal_due(1000.0) == (1680, 1785)
    assert upkeep().renewal_due(2690.0) == (0, 95)
    assert upkeep().renewal_due(2785.0) == (0, 0)
    assert Upkeep(45.0, None, None).renewal_due(9999.0) == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("expires_in", "gap"),
    [(600.0, 480.0), (3600.0, 1680.0), (30.0, 1680.0), (-5.0, 1680.0), (9000.0, 1680.0), (None, 1680.0), (100.0, 60.0)],
)
def test_the_servers_expires_at(expires_in: float | None, gap: float) -> None:
    """The earlier end counts; one that is not 1 to 120 minutes ahead is a wrong clock; never twice in a minute."""
    clock = upkeep()
    clock.connected(1000.0, expires_in)
    assert clock.renewal_due(1000.0)[0] == gap
