"""The rows of the table: what is measured, against whom, and which goal it has; and what has to run for it."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["CORE", "ROWS", "SPEED", "Goal", "Row", "Size", "Task", "tasks"]

SPEED, CORE = "ours [speed]", "ours core"
"""Our two modes: with the libraries of the ``[speed]`` extra, and on the standard library alone."""
_OURS = (SPEED, CORE)


class Goal(NamedTuple):
    """What a figure of ours should be.

    Attributes:
        against: The peer whose figure ours is divided by; ``""``: ours is taken as it is.
        speed: The limit with ``[speed]``; ``None`` for a comparison without a goal.
        core: The limit without.
    """

    against: str
    speed: float | None = None
    core: float | None = None

    def limit(self, mode: str) -> float | None:
        """Return the limit for one of our modes."""
        return self.speed if mode == SPEED else self.core


class Row(NamedTuple):
    """One measured figure.

    Attributes:
        key: The figure's name, as a task returns it.
        told: What it is.
        unit: Of the figure itself.
        more_is_better: Whether a goal is a lower limit.
        goals: One per comparison.
    """

    key: str
    told: str
    unit: str
    more_is_better: bool
    goals: tuple[Goal, ...]


class Size(NamedTuple):
    """How much is run.

    Attributes:
        rounds: How often each client takes its turn.
        long_rounds: The same for tasks that take long, or wait for real time.
        messages: What counts of messages are multiplied with.
        sessions: How many sessions are live at once, in turn.
        window: Seconds that live sessions are watched.
        settle: Seconds before that.
        turns: How many short turns each client takes in a round.
    """

    rounds: int
    long_rounds: int
    messages: float
    sessions: tuple[int, ...]
    window: float
    settle: float
    turns: int

    def count(self, messages: int) -> int:
        """Return so many messages, in proportion."""
        return max(10, round(messages * self.messages))


class Task(NamedTuple):
    """Some work that gives the figures of rows, see ``tasks``.

    Attributes:
        name: Of the function.
        rows: Keys of the rows that it feeds.
        clients: Who does it.
        options: For the function.
        tls: Whether the server's TLS listener is used.
        long: Whether it takes ``long_rounds``.
        turns: How many each client takes in a round, in alternation; the figure of the round is their median.
    """

    name: str
    rows: tuple[str, ...]
    clients: tuple[str, ...]
    options: dict[str, Any]
    tls: bool = False
    long: bool = False
    turns: int = 1


def _receive_rows() -> list[Row]:
    core = {20: 1.8, 100: 1.5, 400: 1.3}
    plain = [
        Row(
            f"receive_{ms}",
            f"receive and decode deltas of {ms} ms",
            "deltas/s",
            True,
            (
                Goal("meshapi", 3.5, core[ms]),
                Goal("openai", 6.0, 2.0),
                Goal("naive"),
                Goal("pumped"),
                Goal("bare"),
                Goal("raw"),
            ),
        )
        for ms in core
    ]
    tls = [
        Row(
            f"tls_{ms}",
            f"the same over TLS, {ms} ms",
            "deltas/s",
            True,
            (Goal("meshapi", 3.5, 1.5), Goal("pumped"), Goal("bare"), Goal("raw")),
        )
        for ms in core
    ]
    return plain + tls


def _trip_rows(key: str, told: str) -> list[Row]:
    return [
        Row(
            f"{key}_{percentile}",
            f"{told}, {percentile}",
            "µs",
            False,
            (Goal("meshapi", goal, goal), Goal("openai", 0.25, 0.25), Goal("pumped"), Goal("bare")),
        )
        for percentile, goal in (("p50", 0.8), ("p99", 1.0))
    ]


def _send_rows() -> list[Row]:
    limits = {20: (3.0, 2.2), 100: (4.5, 2.6)}
    return [
        Row(
            f"send_{ms}{form}",
            f"send_audio of {ms} ms, {'int16 array' if form else 'bytes'}",
            "chunks/s",
            True,
            (
                Goal("meshapi", *limits[ms]),
                Goal("openai", 15.0, 9.0),
                Goal("naive"),
                Goal("pumped"),
                Goal("bare"),
                Goal("raw"),
            ),
        )
        for ms in limits
        for form in ("", "_array")
    ]


def _live_rows() -> list[Row]:
    rows = []
    for sessions in (50, 100):
        cpu, late = f"CPU of {sessions} live sessions", f"lateness p99, {sessions} live sessions"
        rows += [
            Row(
                f"live_{sessions}_cpu",
                cpu,
                "% of a core",
                False,
                (Goal("meshapi", 0.6, 0.7), Goal("pumped"), Goal("bare")),
            ),
            Row(f"live_{sessions}_p99", late, "ms", False, (Goal("meshapi"),)),
            Row(f"busy_{sessions}_p99", f"{late} beside a busy thread", "ms", False, (Goal("meshapi", 1.0, 1.0),)),
            Row(f"busy_{sessions}_sent", "what they sent meanwhile", "% of real time", True, (Goal("meshapi"),)),
        ]
    return rows


_PCM = ("to_float", "from_float", "to_mono", "level", "ulaw_encode", "ulaw_decode")

ROWS: tuple[Row, ...] = (
    *_receive_rows(),
    *_send_rows(),
    *_trip_rows("trip", "round trip of a small event"),
    *_trip_rows("trip_aside", "the same on another thread than the main one"),
    *_live_rows(),
    Row("idle_memory", "memory per idle session", "KiB", False, (Goal("meshapi", 0.6, 0.6),)),
    Row("live_50_memory", "memory per live session, of 50", "KiB", False, (Goal("meshapi", 0.6, 0.6),)),
    Row("idle_threads", "threads per session", "threads", False, (Goal("", 1.0, 1.0), Goal("meshapi"))),
    Row(
        "import",
        "import, over numpy alone",
        "ms",
        False,
        (Goal("", 60, 60), Goal("meshapi", 1.0, 1.0), Goal("openai", 1.0, 1.0), Goal("libraries")),
    ),
    *(Row(f"pcm_{name}", f"pcm.{name}, 60 s of audio", "ms", False, (Goal("numpy", 1.5, 1.5),)) for name in _PCM),
    Row("linear", "time per message: sessions of 1 to 100 thousand", "times the least", False, (Goal("", 1.25, 1.25),)),
    Row("flat", "memory gained over the last 9/10 of 10^6 messages", "KiB", False, (Goal("", 1024, 1024),)),
)


def tasks(size: Size) -> list[Task]:
    """Return all the work, sized."""
    down = {"20": size.count(5_000), "100": size.count(2_500), "400": size.count(1_000)}
    up = {"20": size.count(4_000), "100": size.count(2_000)}
    everyone = (*_OURS, "meshapi", "openai", "naive", "pumped", "bare", "raw")
    sizes = tuple(f"_{ms}" for ms in down)
    return [
        Task("receive", tuple(f"receive{ms}" for ms in sizes), everyone, {"counts": down}, turns=size.turns),
        Task(
            "receive",
            tuple(f"tls{ms}" for ms in sizes),
            (*_OURS, "meshapi", "pumped", "bare", "raw"),
            {"counts": down, "name": "tls"},
            tls=True,
            turns=size.turns,
        ),
        Task(
            "send",
            tuple(f"send_{ms}{form}" for ms in up for form in ("", "_array")),
            (*everyone, "bare core"),
            {"counts": up},
            turns=size.turns,
        ),
        Task("round_trip", ("trip_p50", "trip_p99"), everyone, {"count": size.count(1_000)}, turns=size.turns),
        Task(
            "round_trip",
            ("trip_aside_p50", "trip_aside_p99"),
            everyone,
            {"count": size.count(1_000), "aside": True},
            turns=size.turns,
        ),
        *_live_tasks(size),
        Task(
            "idle", ("idle_memory", "idle_threads"), (*_OURS, "meshapi"), {"sessions": size.sessions[0], "settle": 0.3}
        ),
        Task("import", ("import",), (*_OURS, "meshapi", "openai", "libraries"), {}, long=True),
        Task(
            "pcm",
            tuple(f"pcm_{name}" for name in _PCM),
            (*_OURS, "numpy"),
            {"seconds": 60 if size.messages > 0.1 else 0.5},
        ),
        Task("linear", ("linear",), _OURS, {"longest": min(100_000, size.count(500_000))}, long=True),
        Task("flat", ("flat",), _OURS, {"count": size.count(1_000_000)}, long=True),
    ]


def _live_tasks(size: Size) -> list[Task]:
    sdks = (*_OURS, "meshapi")
    work = []
    for sessions in size.sessions:
        options = {"sessions": sessions, "settle": size.settle, "window": size.window}
        quiet = tuple(f"live_{sessions}_{what}" for what in ("cpu", "p99", "memory"))
        everyone = (*sdks, "pumped", "pumped core", "bare")
        work.append(Task("duplex", quiet, everyone, options, long=True, turns=size.turns))
        beside = tuple(f"busy_{sessions}_{what}" for what in ("p99", "sent"))
        work.append(Task("duplex", beside, sdks, {**options, "busy": True}, long=True, turns=size.turns))
    return work
