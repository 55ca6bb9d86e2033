"""``ReplyStream``: an answer as it comes."""

from __future__ import annotations

import _thread
import contextlib
from collections.abc import Iterator

from .drafts import Piece
from .exchange import Exchange
from .reply import Reply

__all__ = ["ReplyStream"]


class ReplyStream:
    """An answer as it comes: iterate over it. Made by ``session.ask_stream``.

    It yields text as it is written or said (``str``), audio (``int16`` samples at 24 kHz), and at the end the
    :class:`Reply`. The question goes out when the first piece is asked for. Leaving the loop early and closing it
    (``close()``, ``with``, or no reference left) cancels the reply; so does interrupting the cell of a notebook that
    made it.

    Threads:
        One thread at a time.
    """

    def __init__(self, exchange: Exchange, owner: object) -> None:
        self._exchange = exchange
        self._owner = owner  # the session: it must not be garbage while somebody listens

    @property
    def reply(self) -> Reply | None:
        """The whole reply, once it has been yielded."""
        return self._exchange.reply

    def close(self) -> None:
        """Cancel the reply if it has not ended. Any number of times."""
        self._exchange.close()

    def __enter__(self) -> ReplyStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Piece | Reply]:
        return self

    def __next__(self) -> Piece | Reply:
        piece = self._exchange.next()
        if piece is None:
            raise StopIteration
        return piece

    def __del__(self) -> None:
        if self._exchange.is_open:
            # On a thread of its own, started without a lock: garbage is collected on any thread, inside of any lock.
            with contextlib.suppress(RuntimeError):  # the interpreter is about to exit
                _thread.start_new_thread(self._exchange.close, ())
