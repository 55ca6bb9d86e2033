"""Live captions: what is said into the microphone as text with its times, phrase by phrase, while it is being said.

python examples/live_captions.py --live          # the microphone of this machine; Ctrl-C ends it
python examples/live_captions.py [question.wav]  # a recording is the microphone
"""

import contextlib
import sys
import threading
from pathlib import Path

from _client import open_client

from meshapi_rt import MODELS, ConnectionLost, RealtimeMessage, RealtimeSession, SessionClosed, TimedOut
from meshapi_rt.devices import AudioSource, FileMicrophone, Microphone

FASTER = 3  # than it was spoken is how a recording is played
QUIET = 0.5  # seconds without news, after which nothing more is expected of a recording that is over


class Captions:
    """The phrases that are not complete yet. Texts may come out of order, so that each has a place of its own."""

    def __init__(self) -> None:
        self.spans: dict[str, tuple[int, int | None]] = {}  # by item: where it begins and ends, in milliseconds
        self.texts: dict[str, str] = {}

    def take(self, msg: RealtimeMessage) -> None:
        """Show what a message tells of a phrase."""
        event = msg.event
        if event is None:
            return
        if event["type"] == "input_audio_buffer.speech_started":
            self.spans[event["item_id"]] = (event["audio_start_ms"], None)
            self.show(event["item_id"], "...")
        elif event["type"] == "input_audio_buffer.speech_stopped":
            self.spans[event["item_id"]] = (self.spans[event["item_id"]][0], event["audio_end_ms"])
        elif event["type"] == "conversation.item.input_audio_transcription.delta":
            text = self.texts.get(event["item_id"], "") + (event.get("delta") or "")
            self.texts[event["item_id"]] = text
            self.show(event["item_id"], text)
        elif event["type"] == "conversation.item.input_audio_transcription.completed":
            self.show(event["item_id"], event["transcript"], final=True)
        elif event["type"] == "conversation.item.input_audio_transcription.failed":
            self.show(event["item_id"], f"(not understood: {event['error'].get('message')})", final=True)

    def show(self, item_id: str, text: str, *, final: bool = False) -> None:
        """Print a phrase; on a terminal again and again, in the same line, as it grows."""
        start, end = self.spans[item_id]
        line = f"{clock(start)} - {clock(end)}  {text.strip()}"
        if final:
            del self.spans[item_id]
            self.texts.pop(item_id, None)
        if sys.stdout.isatty():
            print(f"\r\x1b[K{line}", end="\n" if final else "", flush=True)
        elif final:
            print(line, flush=True)


def clock(ms: int | None) -> str:
    """Return a moment of the recording as minutes and seconds."""
    return "  ...  " if ms is None else f"{ms // 60_000:02}:{ms / 1000 % 60:04.1f}"


def listen(session: RealtimeSession, microphone: AudioSource) -> None:
    """Send what is heard, until the recording is over or the session has ended, as follow() will tell."""
    with contextlib.suppress(SessionClosed, ConnectionLost):
        while block := microphone.read():
            session.send_audio(block)


def follow(session: RealtimeSession, listener: threading.Thread) -> None:
    """Show captions until the recording is over, and every phrase of it was told."""
    captions, quiet = Captions(), False
    while listener.is_alive() or captions.spans or not quiet:
        with contextlib.suppress(TimedOut):
            quiet = True
            captions.take(session.receive(timeout=QUIET))
            quiet = False


def main() -> None:
    """Caption the microphone until Ctrl-C, or the recording until its end."""
    files = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(
            stack.enter_context(open_client()).realtime.connect(model=MODELS.GPT_REALTIME_MINI)
        )
        # Short pauses make short phrases, which are there soon; and nobody is to be answered.
        pauses = {"type": "server_vad", "silence_duration_ms": 300, "create_response": False}
        session.update(transcription="gpt-transcribe", turn_detection=pauses)
        microphone: AudioSource
        if "--live" in sys.argv:
            microphone = stack.enter_context(Microphone())
            print("listening; Ctrl-C ends it", flush=True)
        else:
            question = files[0] if files else Path(__file__).with_name("question.wav")
            microphone = stack.enter_context(FileMicrophone(question, speed=FASTER, tail=1.0))
        listener = threading.Thread(target=listen, args=(session, microphone), daemon=True)
        listener.start()
        with contextlib.suppress(KeyboardInterrupt):
            follow(session, listener)
        microphone.close()
        listener.join()


if __name__ == "__main__":
    main()
