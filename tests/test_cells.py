"""Cells of a notebook, in a real kernel: run again, interrupted, and what is left of their sessions."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshapi_rt import cells
from meshapi_rt.local import LocalServer

from .faces import environment
from .kernel import Kernel, running_kernel
from .peers import LIMIT
from .test_ask import Patient

CONNECT = "session = client.realtime.connect(model='m')"
# Ctrl-C inside of a send ends the connection where the frame may be half out (design.md section 3), so the tests press
# it once the question is out, which the log tells.
SETUP = """
import logging, threading
from meshapi_rt import MeshAPI
client = MeshAPI("local", {url!r})
class Told(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("sent response.create"):
            print("asked", flush=True)
logging.getLogger("meshapi_rt").handlers[:] = [Told()]
logging.getLogger("meshapi_rt").setLevel(logging.DEBUG)
"""
FOREVER = """
import time
print("waits", flush=True)
while True:
    time.sleep(0.02)
"""
THREADS = """
print(sum(thread.name.startswith("meshapi-rt-reader") for thread in threading.enumerate()), "readers")
"""


@pytest.fixture(scope="module")
def one_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Return a kernel for all tests: it starts slowly."""
    with running_kernel(tmp_path_factory.mktemp("ipython")) as kernel:
        yield kernel


@pytest.fixture
def patient() -> Patient:
    """Return who answers."""
    return Patient()


@pytest.fixture
def server(patient: Patient) -> Iterator[LocalServer]:
    """Return the server that the kernel's sessions talk to."""
    with LocalServer(responder=patient) as running:
        yield running


@pytest.fixture
def kernel(one_kernel: Kernel, server: LocalServer) -> Iterator[Kernel]:
    """Return the kernel with a client of the server, whose sessions end with the test."""
    one_kernel.run(SETUP.format(url=server.url))
    yield one_kernel
    one_kernel.run("client.close()")
    one_kernel.run("assert not client.sessions" + THREADS).says("0 readers")


def assert_open(kernel: Kernel, server: LocalServer, count: int) -> None:
    """Check how many sessions live, by the kernel's threads and the server's connections."""
    kernel.run(THREADS).says(f"{count} readers")
    end = time.monotonic() + LIMIT
    while len(server.sessions) > count and time.monotonic() < end:  # it hears of an end a moment later
        time.sleep(0.01)
    assert len(server.sessions) == count


@pytest.mark.parametrize("cell_id", ["a", None])
@pytest.mark.parametrize("shown", ["", "\nsession", "\ndisplay(session); session.conversation"])
def test_a_cell_that_connects_runs_again(kernel: Kernel, server: LocalServer, shown: str, cell_id: str | None) -> None:
    """Only its last session is left, whatever IPython keeps of the ones before."""
    for _ in range(3):
        kernel.run(CONNECT + shown, cell_id)

    assert server.connections_total == 3
    assert_open(kernel, server, 1)
    kernel.run("assert session.ask('hello').transcript == 'hello'")


def test_an_unnamed_session_that_was_displayed(kernel: Kernel, server: LocalServer) -> None:
    """Nobody but IPython's Out has it."""
    for _ in range(2):
        kernel.run("client.realtime.connect(model='m')", "unnamed")

    assert_open(kernel, server, 1)
    kernel.run("assert _ is Out[max(Out)] and not _.closed")


def test_a_cell_that_was_edited_is_known_by_its_id(kernel: Kernel, server: LocalServer) -> None:
    """Where the front end sends one."""
    kernel.run(CONNECT, "edited")
    kernel.run(f"first = session\n{CONNECT}\nassert first.closed", "edited")

    assert_open(kernel, server, 1)


def test_the_former_session_ends_before_the_new_one_begins(kernel: Kernel) -> None:
    """A gateway that allows one session at a time lets the cell run again."""
    with LocalServer(max_sessions=1) as narrow:
        kernel.run(SETUP.format(url=narrow.url))
        for _ in range(3):
            kernel.run(CONNECT, "narrow")
        kernel.run("client.close()")


@pytest.mark.parametrize(
    "source", [f"{CONNECT}\nsession.ask('wait')", "client.realtime.connect(model='m').ask('wait')"]
)
def test_an_interrupted_cell_runs_again(kernel: Kernel, server: LocalServer, patient: Patient, source: str) -> None:
    """The session of the interrupted run goes, also where only IPython's traceback has it."""
    for _ in range(3):
        cell = kernel.start(source, "interrupted").says("asked")
        assert patient.asked.acquire(timeout=LIMIT)
        kernel.interrupt()
        assert cell.end().error == "KeyboardInterrupt"

    assert server.connections_total == 3
    assert_open(kernel, server, 1)


def test_other_cells_sessions_live_on(kernel: Kernel, server: LocalServer) -> None:
    """Whichever cell runs again."""
    for _ in range(2):
        kernel.run(f"first_{CONNECT}", "one")
        kernel.run(f"second_{CONNECT}", "other")

    assert_open(kernel, server, 2)
    kernel.run("assert not first_session.closed and not second_session.closed")


def test_several_sessions_of_one_run_live(kernel: Kernel, server: LocalServer) -> None:
    """And all of them go when it runs again."""
    many = "sessions = [client.realtime.connect(model='m') for _ in range(3)]\nclient.ask('hello', model='m')\nsessions"
    for _ in range(2):
        kernel.run(many, "several")

    assert_open(kernel, server, 3)


def test_a_session_that_another_cells_function_opens(kernel: Kernel, server: LocalServer) -> None:
    """It belongs to the cell that runs, not to the one that holds the function."""
    kernel.run(f"def opened():\n    {CONNECT}\n    return session", "function")
    kernel.run("one = opened()", "caller")
    kernel.run("other = opened()", "other caller")
    kernel.run("one = opened()", "caller")

    assert_open(kernel, server, 2)


def test_sessions_of_other_threads_are_left_alone(kernel: Kernel, server: LocalServer) -> None:
    """A thread belongs to no cell that could be told for sure."""
    source = "opened = []\ndef work():\n    opened.append(client.realtime.connect(model='m'))\n"
    source += "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\nkept = opened"
    kernel.run(source, "threads")
    kernel.run("former = kept", "keeps it")
    kernel.run(source, "threads")

    assert_open(kernel, server, 2)


def test_a_cell_that_awaits(kernel: Kernel, server: LocalServer) -> None:
    """It is a task of the kernel's loop, and known all the same."""
    for _ in range(2):
        kernel.run(f"import asyncio\nawait asyncio.sleep(0)\n{CONNECT}\nsession", "awaits")

    assert_open(kernel, server, 1)


def test_an_interrupted_ask_leaves_the_session_usable(kernel: Kernel, server: LocalServer, patient: Patient) -> None:
    """Its reply is cancelled, and the next question is answered."""
    kernel.run(CONNECT)
    cell = kernel.start("session.ask('wait')").says("asked")
    assert patient.asked.acquire(timeout=LIMIT)

    kernel.interrupt()

    assert cell.end().error == "KeyboardInterrupt"
    assert patient.cancelled.acquire(timeout=LIMIT)
    kernel.run("assert session.ask('and now?').transcript == 'and now?'")
    assert_open(kernel, server, 1)


def test_an_interrupted_stream_leaves_the_session_usable(kernel: Kernel, patient: Patient) -> None:
    """Also one that has a name, and was interrupted between two of its pieces."""
    kernel.run(CONNECT)
    source = f"stream = session.ask_stream('wait')\nnext(stream)\n{FOREVER}"
    cell = kernel.start(source).says("waits")
    assert patient.asked.acquire(timeout=LIMIT)

    kernel.interrupt()

    assert cell.end().error == "KeyboardInterrupt"
    assert patient.cancelled.acquire(timeout=LIMIT)
    kernel.run("assert list(stream) == []\nassert session.ask('and now?', timeout=10).transcript == 'and now?'")


def test_a_stream_outlives_a_cell_that_ends_by_itself(kernel: Kernel, patient: Patient) -> None:
    """Reading one over several cells is as good as in one, and another cell's interrupt is not its own."""
    kernel.run(f"{CONNECT}\nstream = session.ask_stream('wait')\nnext(stream)")
    assert patient.asked.acquire(timeout=LIMIT)
    cell = kernel.start(FOREVER).says("waits")
    kernel.interrupt()
    cell.end()

    patient.go_on.set()
    kernel.run("assert list(stream)[-1].transcript == 'begun done'")


@pytest.mark.parametrize("wait", ["session.receive()", "for message in session.events(): pass", "session.run()"])
def test_an_interrupted_loop_leaves_the_session_usable(kernel: Kernel, server: LocalServer, wait: str) -> None:
    """Nothing was asked for, so nothing is cancelled."""
    kernel.run(f"{CONNECT}\nsession.wait_for('session.created')")
    cell = kernel.start(f"print('waits', flush=True)\n{wait}").says("waits")

    kernel.interrupt()

    assert cell.end().error == "KeyboardInterrupt"
    kernel.run("assert session.ask('hello').transcript == 'hello'")
    assert_open(kernel, server, 1)


def test_a_reply_and_a_session_are_displayed(kernel: Kernel) -> None:
    """As HTML, and as text for those who take no HTML."""
    kernel.run(CONNECT)

    reply, session = kernel.run("display(session.ask('<b>hello</b>'))\nsession").shown

    assert "&lt;b&gt;hello&lt;/b&gt;" in reply["text/html"]
    assert reply["text/plain"].startswith("<Reply '<b>hello</b>'")
    assert "&lt;b&gt;hello&lt;/b&gt;" in session["text/html"]
    assert session["text/plain"].startswith("<RealtimeSession sess_")


def test_outside_of_a_notebook_nothing_is_closed(server: LocalServer) -> None:
    """The same line may open as many sessions as it likes."""
    client = server.client()

    sessions = [client.realtime.connect(model="m") for _ in range(2)]

    assert cells.running() is None
    assert not any(session.closed for session in sessions)
    client.close()


def test_ipython_in_a_terminal_is_no_notebook(server: LocalServer, tmp_path: Path) -> None:
    """It has no cells that could run again."""
    source = f"""
shell = get_ipython()
shell.run_cell("import threading\\nfrom meshapi_rt import MeshAPI\\nclient = MeshAPI('local', {server.url!r})")
for _ in range(2):
    shell.run_cell("client.realtime.connect(model='m')", store_history=True)
print(len(client.sessions), "are open")
client.close()
"""
    command = [sys.executable, "-m", "IPython", "--no-banner", "--quick", "-c", source]
    env = environment(PYTHONWARNINGS="default", IPYTHONDIR=str(tmp_path))
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert "2 are open" in told.stdout, told.stdout + told.stderr
    assert "<div" not in told.stdout
