"""Waits that end."""

from __future__ import annotations

import queue

import pytest

from meshapi_rt.waiting import taken

from .peers import LIMIT


@pytest.mark.parametrize("timeout", [0, 1e-7, 0.001])
def test_an_empty_queue_holds_nobody(timeout: float) -> None:
    """Also one that was filled and emptied before, which had held ``get`` for ever on CPython 3.10."""
    for _ in range(200 if timeout == 0.001 else 20_000):
        source: queue.SimpleQueue[int] = queue.SimpleQueue()
        source.put(1)
        assert source.get() == 1
        with pytest.raises(queue.Empty):
            taken(source, timeout)
        source.put(2)
        assert taken(source, LIMIT) == 2
