"""A voice agent: microphone, session and speaker, with interruption done right.

Nothing here is loaded until it is used; sound devices need the ``[audio]`` extra, recordings and objects of one's own
need nothing.
"""

from .agent import VoiceAgent
from .gate import EchoGate
from .metrics import AgentMetrics, TurnTiming
from .states import AgentState
from .utterances import Utterance

__all__ = ["AgentMetrics", "AgentState", "EchoGate", "TurnTiming", "Utterance", "VoiceAgent"]
