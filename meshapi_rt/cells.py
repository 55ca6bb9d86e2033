"""What a cell of a notebook leaves open: closed when the cell runs again, or when it is interrupted.

Running a cell again is how people work in a notebook, and ``session = client.realtime.connect(...)`` would leave the
former session open each time: IPython holds what was displayed in ``Out`` and ``_``, and the frames of an interrupted
cell in its last traceback, so that it is never garbage. Here each cell's sessions are known by the cell, weakly.

Nothing happens outside of a Jupyter kernel, nor on threads other than the one that runs cells: what another thread
opens belongs to no cell that could be told for sure.
"""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["closed_on_interrupt", "renewed", "running"]

log = logging.getLogger("meshapi_rt")

_Opened = TypeVar("_Opened")  # what has a close()

# By cell: the request of its latest run that opened something, and what that opened. One thread alone comes here.
_sessions: dict[str, tuple[str, weakref.WeakSet[Any]]] = {}
_streams: weakref.WeakKeyDictionary[Any, tuple[str, str]] = weakref.WeakKeyDictionary()
_watched: weakref.WeakSet[Any] = weakref.WeakSet()  # shells


def running() -> tuple[str, str] | None:
    """Return the run of a cell that the caller is part of; ``None`` where there is none.

    Returns:
        The cell: its id where the front end sends one (JupyterLab, Notebook, VS Code do), else its source text; and
        the id of the request that runs it.
    """
    parent = _parent(_shell())
    header = parent.get("header")
    if not isinstance(header, Mapping) or header.get("msg_type") != "execute_request":
        return None  # a widget's callback, for example
    metadata, content = parent.get("metadata") or {}, parent.get("content") or {}
    cell_id = metadata.get("cellId")
    cell = f"id {cell_id}" if cell_id else f"source {content.get('code')}"
    return cell, str(header.get("msg_id"))


def renewed(connect: Callable[[], _Opened]) -> _Opened:
    """Close what earlier runs of the running cell opened this way, then open. Outside of a notebook just open."""
    run = running()
    if run is None:
        return connect()
    cell, request = run
    before, former = _sessions.get(cell, ("", weakref.WeakSet()))
    if before != request:
        # They are forgotten once they are closed: where this is interrupted, the next run goes on with it.
        for session in list(former):
            log.info("closing %r: the cell that opened it runs again", session)
            session.close()
    opened = connect()
    _note(cell, request, opened)
    return opened


def _note(cell: str, request: str, opened: object) -> None:
    before, known = _sessions.get(cell, ("", weakref.WeakSet()))
    if before != request:
        for other in [other for other, (_, left) in _sessions.items() if not left]:
            del _sessions[other]
        known = weakref.WeakSet()
        _sessions[cell] = (request, known)
    known.add(opened)


def closed_on_interrupt(stream: _Opened) -> _Opened:
    """Have *stream* closed when the running cell is interrupted while something holds it; return it.

    An interrupt that comes inside of it closes it anyway. One that comes between two of its pieces does not, where
    the notebook has a name for it; and as long as it is open it keeps other questions waiting.
    """
    run = running()
    if run is not None:
        shell = _shell()
        if shell not in _watched:
            shell.events.register("post_run_cell", _ended)
            _watched.add(shell)
        _streams[stream] = run
    return stream


def _ended(result: Any = None) -> None:
    """Take the end of a cell from IPython; *result* is ``None`` where the interrupt cut off IPython itself."""
    interrupted = result is None or isinstance(result.error_in_exec, KeyboardInterrupt)
    run = running() if interrupted else None
    for stream in [stream for stream, its in list(_streams.items()) if its == run]:
        stream.close()


def _shell() -> Any:
    """Return IPython's shell, on the thread that runs cells."""
    if threading.current_thread() is not threading.main_thread():
        return None
    get = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return None if get is None else get()


def _parent(shell: Any) -> Mapping[str, Any]:
    """Return the request that a kernel works on; nothing for IPython in a terminal."""
    get = getattr(getattr(shell, "kernel", None), "get_parent", None)
    parent = None if get is None else get()
    return parent if isinstance(parent, Mapping) else {}
