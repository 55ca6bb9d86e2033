"""A voice agent: one thread speaks, the main thread listens.

python examples/voice_agent.py [question.wav [answer.wav]]
"""

import sys
import threading
import time
from pathlib import Path

import numpy as np
from _client import open_client
from numpy.typing import NDArray

from meshapi_rt import MODELS, RealtimeSession, audio_files, pcm


def configure(session: RealtimeSession) -> None:
    """Say how to answer, and switch turn detection off.

    By default the server listens for pauses, commits what was said before them and answers by itself. This
    program knows where its recording ends, and commits there. With both, the speaker's first pause would cut the
    question in two, and our own commit would often meet a buffer that the server had just emptied.
    """
    session.send(
        {
            "type": "session.update",
            "session": {
                "type": "realtime",
                "instructions": "You are a helpful voice assistant. Keep it short.",
                "audio": {"input": {"turn_detection": None}, "output": {"voice": "marin"}},
            },
        }
    )
    session.wait_for("session.updated", timeout=10)


def speak(session: RealtimeSession, question: NDArray[np.int16]) -> None:
    """Send the recording as a microphone would, in real time; then ask for the answer."""
    started, spoken = time.monotonic(), 0.0
    for piece in pcm.split(question, 0.1):
        spoken += pcm.duration(piece)
        time.sleep(max(0.0, started + spoken - time.monotonic()))
        session.send_audio(piece)
    session.send({"type": "input_audio_buffer.commit"})
    session.send({"type": "response.create"})


def listen(session: RealtimeSession) -> bytes:
    """Print the transcript as it comes; return the answer's audio. A sound card could play it here instead."""
    answer, joiner = bytearray(), pcm.Joiner()
    for msg in session.events(on_error="raise", timeout=60):  # seconds of silence: longer than the question
        if msg.audio:
            answer += joiner.push(msg.audio)  # a delta may end inside a sample
        elif not msg.event:  # no JSON object
            continue
        elif msg.event["type"] == "response.output_audio_transcript.delta":
            print(msg.event["delta"], end="", flush=True)
        elif msg.event["type"] == "response.done":
            print()
            response = msg.event["response"]
            if response["status"] != "completed":
                print("the answer is cut short:", response["status_details"])
            break
    return bytes(answer)


def main() -> None:
    """Ask the question of one file and write the answer to another."""
    arguments = sys.argv[1:]
    question = audio_files.read(arguments[0] if arguments else Path(__file__).with_name("question.wav"))
    target = arguments[1] if len(arguments) > 1 else "answer.wav"
    with open_client() as client, client.realtime.connect(model=MODELS.GPT_REALTIME_MINI) as session:
        configure(session)
        speaker = threading.Thread(target=speak, args=(session, question), daemon=True)
        speaker.start()
        answer = listen(session)
        speaker.join()
    audio_files.write(target, answer)
    print(f"{pcm.duration(answer):.2f} s of audio in {target}")


if __name__ == "__main__":
    main()
