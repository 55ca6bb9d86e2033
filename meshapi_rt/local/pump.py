"""Runs a responder on a thread of its own, and hands its answer over piece by piece."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .host import Running
from .rendering import Rendered, Spoken
from .responder import Responder
from .speech import describe
from .values import Audio, Fail, Piece, Text, ToolCall

__all__ = ["answer", "start_thread", "transcribe"]

log = logging.getLogger("meshapi_rt")

_BATCH_BYTES = 64 * 1024  # audio handed over at once: one crossing of threads for about 1.3 s
_numbers = itertools.count(1)


def start_thread(task: Callable[[], None], owner: str) -> threading.Thread:
    """Start a daemon thread for one answer or transcription; it ends with its task.

    Args:
        task: What it does.
        owner: The first part of its name; the server finds its threads by it.
    """
    thread = threading.Thread(target=task, name=f"{owner}-{next(_numbers)}", daemon=True)
    thread.start()
    return thread


def answer(
    responder: Responder,
    running: Running,
    submit: Callable[[Sequence[Rendered]], bool],
    finish: Callable[[Fail | None], None],
) -> None:
    """Ask the responder, and hand over what it yields until nobody wants more.

    Args:
        responder: Called here, and its generator closed here: on one thread, whatever happens.
        running: The response.
        submit: Takes pieces, waits for room, and says whether more are wanted.
        finish: Told once that the responder is through, or what it raised.
    """
    failure = None
    pieces: Iterable[Piece] = ()
    try:
        pieces = _as_pieces(responder(running.turn))
        for piece in pieces:
            for batch in _batches(running.renderer.render(piece)):
                if not submit(batch):
                    return
    except Exception as exc:
        log.exception("the responder of the local server raised")
        failure = Fail("internal_error", f"The responder raised {type(exc).__name__}: {exc}")
    finally:
        _close(pieces)
    finish(failure)


def _as_pieces(answered: Iterable[Piece] | Piece | None) -> Iterable[Piece]:
    # A single piece is taken for what is meant: a str is iterable, too, but nobody means its letters.
    if answered is None:
        return ()
    return (answered,) if isinstance(answered, (str, Text, Audio, ToolCall, Fail)) else answered


def _batches(rendered: Iterator[Rendered]) -> Iterator[list[Rendered]]:
    batch: list[Rendered] = []
    size = 0
    for piece in rendered:
        batch.append(piece)
        size += len(piece.delta) if isinstance(piece, Spoken) else 0
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _close(pieces: Iterable[Piece]) -> None:
    close = getattr(pieces, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        log.exception("the responder of the local server raised while it was closed")


def transcribe(responder: Responder, samples: NDArray[np.int16]) -> str:
    """Write speech down: by the responder's own ``transcribe``, else as a note of its length."""
    own = getattr(responder, "transcribe", None)
    return describe(samples) if own is None else str(own(samples))
