"""Opens what a conversation needs, and closes it however that ends."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from ...client import MeshAPI
from ..terminal import Screen
from .devices import described, open_microphone, open_speaker
from .options import NONE
from .talk import LiveTalk

__all__ = ["run"]

_CLOSE_TIMEOUT = 0.5  # seconds; nobody waits for a goodbye


def run(args: argparse.Namespace, screen: Screen, client: Callable[[contextlib.ExitStack], MeshAPI]) -> int:
    """Hold the conversation; failures are raised.

    Args:
        args: As ``talk`` has checked them.
        screen: Where to show things.
        client: Chooses whom to talk to.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_terminated())
        microphone = stack.enter_context(contextlib.closing(open_microphone(args.microphone)))
        speaker = stack.enter_context(contextlib.closing(open_speaker(args.speaker)))
        chosen = client(stack)
        session = chosen.realtime.connect(
            model=args.model, timeout=args.timeout, close_timeout=_CLOSE_TIMEOUT, reconnect=True
        )
        stack.enter_context(session)
        if args.speaker == NONE:
            session.update(output_modalities=["text"])
        talk = LiveTalk(args, screen, session, microphone, speaker)
        talk.introduce(described(microphone, args.microphone), described(speaker, args.speaker))
        talk.hold()
    return 0


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the conversation in order: settings of the terminal, files, the session."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def leave(number: int, _frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, lambda *_: os._exit(128 + number))
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in numbers if signal.getsignal(number) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
