"""``session.update``: the settings of a session as people think of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from .commands import call, client_event, inner
from .engine import Engine
from .shapes import NOT_GIVEN, UPDATE_KEYWORDS, NotGiven, session_shape

__all__ = ["Configurable"]


class Configurable:
    """What can be configured: a part of the session's face."""

    _engine: Engine

    def update(
        self,
        *,
        instructions: str | NotGiven | None = NOT_GIVEN,
        voice: str | Mapping[str, Any] | NotGiven = NOT_GIVEN,
        output_modalities: str | Sequence[str] | NotGiven | None = NOT_GIVEN,
        tools: Sequence[Mapping[str, Any]] | NotGiven | None = NOT_GIVEN,
        tool_choice: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        turn_detection: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        transcription: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        noise_reduction: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        speed: float | NotGiven | None = NOT_GIVEN,
        max_output_tokens: int | str | NotGiven | None = NOT_GIVEN,
        reasoning: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        parallel_tool_calls: bool | NotGiven = NOT_GIVEN,
        truncation: str | float | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        tracing: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        prompt: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        include: str | Sequence[str] | NotGiven | None = NOT_GIVEN,
        input_format: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        output_format: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        session: Mapping[str, Any] | None = None,
        event_id: str | None = None,
        wait: bool = True,
        timeout: float | None = 10.0,
    ) -> dict[str, Any]:
        """Change the configuration: what is given, and nothing else. ``None`` clears a setting.

        Mappings have the shape of the protocol (protocol.md 3). All or nothing: one bad field refuses the update.

        Args:
            instructions: What the model is told.
            voice: A name, or the id of a custom voice; fixed once the model has spoken.
            output_modalities: ``"audio"`` or ``"text"``.
            tools: Functions as mappings with ``type``, ``name``, ``description`` and ``parameters``; all of them.
            tool_choice: ``"auto"``, ``"none"``, ``"required"``, a function's name, or a mapping.
            turn_detection: ``"server_vad"``, ``"semantic_vad"``, ``None`` for manual turns, or a mapping.
            transcription: Of the user's speech: a model such as ``"gpt-4o-mini-transcribe"``, ``None`` for none, or
                a mapping.
            noise_reduction: ``"near_field"``, ``"far_field"``, ``None`` for none, or a mapping.
            speed: Of the voice, 0.25 to 1.5; between turns only.
            max_output_tokens: Per response, 1 to 4096, or ``"inf"``.
            reasoning: An effort such as ``"low"``; reasoning models only.
            parallel_tool_calls: Reasoning models only.
            truncation: ``"auto"``, ``"disabled"``, the ratio to retain, or a mapping.
            tracing: ``"auto"``, ``None`` for none, or a mapping.
            prompt: A stored prompt: its id, ``None`` for none, or a mapping.
            include: Further fields of the server's events.
            input_format: ``"pcm"``, ``"pcmu"`` or ``"pcma"``.
            output_format: Likewise.
            session: A raw ``session`` object, into which the keywords are merged; where both speak, the keyword
                counts.
            event_id: The id to send it with.
            wait: Whether to wait for the answer.
            timeout: Seconds for that.

        Returns:
            The effective configuration, as in ``settings``; ``{}`` without waiting.

        Raises:
            RealtimeError: The server refused it; ``param`` names the field. Nothing was changed.
            TimedOut: No answer came in time.
            ConfigurationError: A keyword cannot be meant. Nothing was sent.
            SessionClosed: As in :meth:`send`.
        """
        given = {name: value for name, value in locals().items() if name in UPDATE_KEYWORDS}
        shape = session_shape(self._engine.history.session_type, session, given)
        event = client_event("session.update", event_id, session=shape)
        if not wait:
            self._engine.sender.send(event, timeout)
            return {}
        return copy.deepcopy(inner(call(self._engine, event, timeout), "session"))
