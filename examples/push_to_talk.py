"""Push to talk: only what is said between two presses of Enter is heard.

python examples/push_to_talk.py --live          # microphone and speaker of this machine; q or Ctrl-C ends it
python examples/push_to_talk.py [question.wav]  # a recording is the microphone, answer.wav the speaker
"""

import contextlib
import math
import sys
import threading
import time
from pathlib import Path

from _client import open_client

from meshapi_rt.agent import AgentState, Utterance, VoiceAgent
from meshapi_rt.devices import AudioSink, AudioSource, FileMicrophone, FileSpeaker, Microphone, Speaker

FASTER = 3  # than it was spoken is how a recording is played: nobody listens
answered = threading.Event()


def show(said: Utterance) -> None:
    """Print what either side said, in order, once it will not change any more."""
    if said.final and said.text:
        print(f"{said.role}: {said.text}{' [interrupted]' if said.interrupted else ''}")
    if said.final and said.role == "assistant":
        answered.set()


def converse_by_keyboard(agent: VoiceAgent) -> None:
    """Enter begins a turn, and Enter ends it; it cuts off an answer that is heard. What is typed is said, too."""
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while (line := input("Enter to talk, or type something; q to leave\n").strip()) != "q":
            if agent.state is AgentState.STOPPED:
                break
            if line:
                agent.say(line)
                continue
            with agent.talk():
                input("... speak, then Enter to send\n")
    agent.wait(timeout=0)  # raises what ended the agent, if anything did


def converse_by_recording(agent: VoiceAgent, microphone: FileMicrophone, question: Path | str) -> None:
    """Hold the key for as long as the recording lasts, and wait until its answer was heard."""
    with agent.talk():
        microphone.say(question)
        while microphone.saying:
            time.sleep(0.02)
    answered.wait(timeout=60)


def main() -> None:
    """Converse until q or Ctrl-C, or until the recording was answered."""
    live = "--live" in sys.argv
    files = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    with contextlib.ExitStack() as stack:
        microphone: AudioSource
        speaker: AudioSink
        if live:
            microphone, speaker = stack.enter_context(Microphone()), stack.enter_context(Speaker())
        else:
            # Its time begins when the agent listens to it, which "with" would not wait for.
            microphone = stack.enter_context(contextlib.closing(FileMicrophone(speed=FASTER, tail=math.inf)))
            speaker = stack.enter_context(FileSpeaker("answer.wav", speed=FASTER))
        agent = VoiceAgent(
            stack.enter_context(open_client()),
            microphone=microphone,
            speaker=speaker,
            turn="push_to_talk",
            instructions="You are a helpful voice assistant. Keep it short.",
            on_transcript=show,
        )
        with agent:
            if isinstance(microphone, FileMicrophone):
                question = files[0] if files else Path(__file__).with_name("question.wav")
                converse_by_recording(agent, microphone, question)
            else:
                converse_by_keyboard(agent)
    print(agent.metrics)


if __name__ == "__main__":
    main()
