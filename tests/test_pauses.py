"""A consumer that pauses in mid-answer: nothing is lost, and the session lives."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from meshapi_rt import pcm
from meshapi_rt.local import LocalServer

from .peers import LIMIT


@pytest.mark.parametrize(
    ("pause", "pings"),
    [(1.5, 0.1), pytest.param(30.0, 2.0, marks=[pytest.mark.soak, pytest.mark.timeout(120)])],
)
def test_a_consumer_that_pauses(pause: float, pings: float) -> None:
    """The server pings all the while, and the speech comes back whole afterwards."""
    speech = np.random.default_rng(2).integers(-8000, 8000, 20 * pcm.SAMPLE_RATE, np.int16)
    with LocalServer(ping_interval=pings, ping_timeout=2 * pings) as server:
        with server.client().realtime.connect(model="m") as session:
            session.send(
                {
                    "type": "session.update",
                    "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}},
                }
            )
            session.send_audio(speech)
            session.send({"type": "input_audio_buffer.commit"})
            session.send({"type": "response.create"})
            session.wait_for("response.output_audio.delta", timeout=LIMIT)
            heard = bytearray()

            threading.Event().wait(pause)

            for message in session.events(timeout=LIMIT):
                heard += message.audio or b""
                if message.type == "response.done":
                    break
            assert not session.closed
    # The first delta was taken by wait_for.
    assert len(speech.tobytes()) - len(heard) < 48_000
    assert speech.tobytes().endswith(bytes(heard))
