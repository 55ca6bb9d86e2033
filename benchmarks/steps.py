"""How many steps of Python a message takes: ``python -m benchmarks.steps``.

Counted, not timed: bytecode instructions and calls of Python functions, on the thread of the caller and on that of the
reader. Other work of the machine does not change them, so that two versions can be compared; a version of Python does.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from . import wire
from .clients import Talk, connect
from .run import available, server
from .wire import Scenario

__all__ = ["WAYS", "Steps", "main"]

_CLIENTS = ("ours", "meshapi", "pumped", "bare")
_MESSAGES = 320
_LISTEN = 3.0  # seconds, at ten messages each
_DOWN = 4800  # bytes: 100 ms of audio


class Steps:
    """What one thread did."""

    def __init__(self) -> None:
        self.instructions: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def trace(self, frame: FrameType, event: str, _arg: Any) -> Any:
        """Count; as ``sys.settrace`` wants it."""
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            self.calls[_name(frame)] += 1
        elif event == "opcode":
            self.instructions[_name(frame)] += 1
        return self.trace

    def clear(self) -> None:
        """Begin again."""
        self.instructions.clear()
        self.calls.clear()


def _name(frame: FrameType) -> str:
    code = frame.f_code
    return f"{frame.f_globals.get('__name__', '?')}.{getattr(code, 'co_qualname', code.co_name)}"


class Count(NamedTuple):
    """What a message took.

    Attributes:
        who: The thread: ``caller``, which sends or asks, ``reader``, or ``listener``, which loops over messages.
        steps: What it did.
        messages: For how many messages.
    """

    who: str
    steps: Steps
    messages: int

    @property
    def instructions(self) -> float:
        """Bytecode instructions per message."""
        return self.steps.instructions.total() / self.messages

    @property
    def calls(self) -> float:
        """Calls of Python functions per message."""
        return self.steps.calls.total() / self.messages


@contextmanager
def _traced_threads(steps: Steps) -> Iterator[None]:
    """Count in threads that are started within."""
    threading.settrace(steps.trace)
    try:
        yield
    finally:
        threading.settrace(None)


def _repeat(talk: Talk, work: Callable[[], object], reader: Steps) -> list[Count]:
    caller = Steps()
    for _ in range(2):  # the first time warms up, and Python 3.12 tells no instructions in it
        caller.clear()
        reader.clear()
        sys.settrace(caller.trace)
        try:
            for _ in range(_MESSAGES):
                work()
        finally:
            sys.settrace(None)
    talk.close()
    return [Count("caller", caller, _MESSAGES), Count("reader", reader, _MESSAGES)]


def send(client: str, url: str) -> list[Count]:
    """20 ms of audio are sent."""
    chunk = wire.chunk(960, 1)
    talk = connect(client, url, Scenario("idle"))
    return _repeat(talk, lambda: talk.send_audio(chunk), Steps())[:1]


def trip(client: str, url: str) -> list[Count]:
    """A small event is sent and answered."""
    reader = Steps()
    with _traced_threads(reader):
        talk = connect(client, url, Scenario("echo"))
    return _repeat(talk, talk.exchange, reader)


def listen(client: str, url: str) -> list[Count]:
    """100 ms of audio are heard, in real time."""
    reader, listener = Steps(), Steps()
    heard: list[int] = []
    with _traced_threads(reader):
        talk = connect(client, url, Scenario("duplex", _DOWN, 1_000_000))
    talk.start()
    threading.Thread(target=_hear, args=(talk, listener, heard), daemon=True).start()
    time.sleep(1.0)
    begun = len(heard)
    for steps in (reader, listener):
        steps.clear()
    time.sleep(_LISTEN)
    count = len(heard) - begun
    talk.close()
    return [Count("reader", reader, count), Count("listener", listener, count)]


def _hear(talk: Talk, listener: Steps, heard: list[int]) -> None:
    sys.settrace(listener.trace)
    talk.listen(lambda _id, size: heard.append(size))


WAYS: dict[str, Callable[[str, str], list[Count]]] = {"send": send, "trip": trip, "listen": listen}


def main(argv: Sequence[str] | None = None) -> None:
    """Print what each client takes, and where it takes it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__.partition("\n")[0])
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="all that are here by default")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="name the N that take most")
    asked = parser.parse_args(argv)
    clients = asked.clients or [name for name in _CLIENTS if name == "ours" or name in available()]
    with server() as ports:
        for way, count_steps in WAYS.items():
            print(f"{way}: {count_steps.__doc__}")
            for client in clients:
                for count in count_steps(client, f"http://127.0.0.1:{ports.plain}"):
                    _show(client, count, asked.functions)


def _show(client: str, count: Count, functions: int) -> None:
    print(f"  {client:8} {count.who:8} {count.instructions:7.0f} instructions {count.calls:5.1f} calls")
    for name, number in count.steps.instructions.most_common(functions):
        print(f"      {number / count.messages:7.1f} {name}")


if __name__ == "__main__":
    main()
