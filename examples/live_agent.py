"""A voice agent with a tool, which can be interrupted: speak up while it talks.

python examples/live_agent.py --live               # microphone and speaker of this machine; Ctrl-C ends it
python examples/live_agent.py --live --headphones  # the same, without the gate that keeps it from hearing itself
python examples/live_agent.py [question.wav]       # a recording is the microphone, answer.wav the speaker
"""

import contextlib
import sys
from datetime import datetime
from pathlib import Path

from _client import open_client

from meshapi_rt.agent import AgentState, Utterance, VoiceAgent
from meshapi_rt.devices import AudioSink, AudioSource, FileMicrophone, FileSpeaker, Microphone, Speaker

FASTER = 3  # than it was spoken is how a recording is played: nobody listens
PATIENCE = {"type": "server_vad", "silence_duration_ms": 900}  # pauses inside of a question are shorter


def current_time() -> str:
    """Tell the date and the time of day where the user is."""
    return f"{datetime.now():%A, %d %B %Y, %H:%M}"


def show(said: Utterance) -> None:
    """Print what either side said, in order, once it will not change any more."""
    if said.final and said.text:
        print(f"{said.role}: {said.text}{' [interrupted]' if said.interrupted else ''}")


def show_state(state: AgentState) -> None:
    """Print what the agent is doing."""
    print(f"({state.value})")


def main() -> None:
    """Converse until Ctrl-C, or until the recording is over and was answered."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("--")]
    files = [argument for argument in sys.argv[1:] if argument not in options]
    question = files[0] if files else Path(__file__).with_name("question.wav")
    with contextlib.ExitStack() as stack:
        microphone: AudioSource
        speaker: AudioSink
        if "--live" in options:
            microphone, speaker = stack.enter_context(Microphone()), stack.enter_context(Speaker())
        else:
            microphone = stack.enter_context(FileMicrophone(question, speed=FASTER, tail=1.5))
            speaker = stack.enter_context(FileSpeaker("answer.wav", speed=FASTER))
        agent = VoiceAgent(
            stack.enter_context(open_client()),
            microphone=microphone,
            speaker=speaker,
            tools=[current_time],
            turn=PATIENCE,
            instructions="You are a helpful voice assistant. Keep it short.",
            echo_gate=False if "--headphones" in options else None,
            on_state=show_state,
            on_transcript=show,
        )
        agent.run()
    print(agent.metrics)


if __name__ == "__main__":
    main()
