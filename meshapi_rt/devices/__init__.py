"""Microphones and speakers: sound devices, recordings, and what any other object must do to serve as one.

Sound devices need the ``[audio]`` extra; recordings need nothing. A session knows none of this: blocks of a
microphone go to ``session.send_audio()``, and the audio of messages goes to ``speaker.write()``.
"""

from .cards import Device, devices
from .files import FileMicrophone, FileSpeaker
from .heard import Heard
from .microphone import BaseMicrophone
from .protocols import AudioSink, AudioSource
from .sound import Microphone, Speaker
from .speaker import BaseSpeaker

__all__ = [
    "AudioSink",
    "AudioSource",
    "BaseMicrophone",
    "BaseSpeaker",
    "Device",
    "FileMicrophone",
    "FileSpeaker",
    "Heard",
    "Microphone",
    "Speaker",
    "devices",
]
