"""A real Jupyter kernel that tests hand cells to, as a notebook's front end does."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .faces import LIMIT, environment

pytest.importorskip("ipykernel", reason="a kernel comes with ipykernel, of the [test] extra")

from jupyter_client.manager import KernelManager

Message = dict[str, Any]


class Cell:
    """One run of one cell: what came of it so far."""

    def __init__(self, kernel: Kernel, request: str) -> None:
        self._kernel = kernel
        self._request = request
        self._over = False
        self.printed = ""
        self.shown: list[dict[str, str]] = []  # by MIME type
        self.error = ""
        self.told = ""  # the error's message

    def says(self, text: str) -> Cell:
        """Wait until it has printed something."""
        while text not in self.printed:
            assert not self._over, f"the cell ended without saying {text!r}: {self.printed}{self.error}"
            self._take()
        return self

    def end(self) -> Cell:
        """Wait for its end."""
        while not self._over:
            self._take()
        return self

    def _take(self) -> None:
        message = self._kernel.next_output()
        if message["parent_header"].get("msg_id") != self._request:
            return
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            self.printed += content["text"]
        elif kind in ("execute_result", "display_data"):
            self.shown.append(content["data"])
        elif kind == "error":
            self.error, self.told = content["ename"], content["evalue"]
        elif kind == "status":
            self._over = content["execution_state"] == "idle"


class Kernel:
    """A kernel and the front end's side of its channels."""

    def __init__(self, home: Path) -> None:
        self._stacks = home / "stacks"
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(env=environment(PYTHONWARNINGS="default", IPYTHONDIR=str(home)))
        self._client = self._manager.blocking_client()
        self._client.start_channels()

    def start(self, source: str, cell_id: str | None = None) -> Cell:
        """Begin to run a cell; its id is what JupyterLab sends, and other front ends don't."""
        content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        metadata = {} if cell_id is None else {"cellId": cell_id}
        request = self._client.session.msg("execute_request", content, metadata=metadata)
        self._client.shell_channel.send(request)
        return Cell(self, request["header"]["msg_id"])

    def wait_until_ready(self) -> None:
        """Wait until it takes cells."""
        self._client.wait_for_ready(timeout=LIMIT)
        if hasattr(signal, "SIGUSR1"):
            register = f"faulthandler.register(signal.SIGUSR1, open({str(self._stacks)!r}, 'w'), all_threads=True)"
            self.run(f"import faulthandler, signal\n{register}")

    def run(self, source: str, cell_id: str | None = None) -> Cell:
        """Run a cell to its end, which must be a good one."""
        cell = self.start(source, cell_id).end()
        assert not cell.error, f"{cell.error}: {cell.told} {cell.printed}"
        return cell

    def interrupt(self) -> None:
        """Press the button with the black square."""
        self._manager.interrupt_kernel()

    def next_output(self) -> Message:
        """Return what the kernel published next."""
        try:
            message: Message = self._client.get_iopub_msg(timeout=LIMIT)
        except queue.Empty:
            pytest.fail(f"the kernel says nothing; it is here:\n{self._whereabouts()}")
        return message

    def _whereabouts(self) -> str:
        """Return the stacks of its threads, which it writes down even where it hangs."""
        if not hasattr(signal, "SIGUSR1"):
            return "unknown on this platform"
        self._manager.signal_kernel(signal.SIGUSR1)
        time.sleep(1)
        return self._stacks.read_text(errors="replace")

    def close(self) -> None:
        """Stop it."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@contextmanager
def running_kernel(home: Path) -> Iterator[Kernel]:
    """Run a kernel that keeps its history in a folder of its own."""
    kernel = Kernel(home)
    try:
        kernel.wait_until_ready()
        yield kernel
    finally:
        kernel.close()
