"""Send audio: bytes, 16-bit arrays, floats, files.

python examples/send_audio.py
"""

from pathlib import Path

import numpy as np
from _client import open_client

from meshapi_rt import MODELS, audio_files, pcm

QUESTION = Path(__file__).with_name("question.wav")

with open_client() as client, client.realtime.connect(model=MODELS.GPT_REALTIME_MINI) as session:
    # Turn detection off: the audio below is one turn, and this program says where it ends.
    session.send(
        {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
    )

    question = audio_files.read(QUESTION)  # any WAV file as 24 kHz mono int16
    session.send_audio(question)
    session.send_audio(question[:2400].tobytes())  # raw PCM16: 24 kHz, mono, 16 bit, little-endian
    tone = 0.1 * np.sin(2 * np.pi * 440 / 24_000 * np.arange(12_000))
    session.send_audio(tone)  # floats in [-1, 1]
    session.send_audio(pcm.silence(0.5))

    session.send({"type": "input_audio_buffer.commit"})  # appended audio is not acknowledged, a commit is
    event = session.wait_for("input_audio_buffer.committed", timeout=10).event
    if event and event["type"] == "input_audio_buffer.committed":  # tells a type checker what is in it
        print(f"{pcm.duration(question) + 0.1 + 0.5 + 0.5:.2f} s of audio became {event['item_id']}")
