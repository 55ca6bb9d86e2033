"""``session.conversation.item``: one method for each client event about an item of the conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from . import contents, pcm
from .commands import call, client_event, inner
from .contents import Image, Input
from .conversation import ConversationView
from .engine import Engine
from .errors import ConfigurationError

__all__ = ["Conversation", "ConversationItems"]


class ConversationItems:
    """``session.conversation.item``: the items of the conversation, one by one.

    Every method takes ``event_id`` (the id to send the event with), ``wait`` (whether to wait for the answer), and
    ``timeout`` (seconds for that), and raises ``RealtimeError`` where the server refuses and ``TimedOut``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        item: Mapping[str, Any],
        *,
        previous_item_id: str | None = None,
        event_id: str | None = None,
        wait: bool = True,
        timeout: float | None = 10.0,
    ) -> dict[str, Any]:
        """Add an item. No response follows by itself.

        Args:
            item: As in protocol.md 2.4; without an ``id`` it is given one.
            previous_item_id: The item before it; ``"root"`` for the front; ``None`` for the end.
            event_id: As in the class.
            wait: As in the class.
            timeout: As in the class.

        Returns:
            The item as the server shows it, without audio; without waiting, as it was sent.
        """
        if not isinstance(item, Mapping):
            raise ConfigurationError(f"an item must be a mapping, not {type(item).__name__}; see create_user_message()")
        made = {**item, "id": item.get("id") or contents.item_id()}
        event = client_event("conversation.item.create", event_id, item=made, previous_item_id=previous_item_id)
        if not wait:
            self._engine.sender.send(event, timeout)
            return made
        return inner(call(self._engine, event, timeout), "item")

    def create_user_message(
        self,
        *inputs: Input,
        image: Image | Sequence[Image] | None = None,
        image_detail: Literal["auto", "low", "high"] = "auto",
        rate: int = pcm.SAMPLE_RATE,
        **how: Any,
    ) -> dict[str, Any]:
        """Add what the user says: text, audio and images in one item.

        Args:
            *inputs: A ``str`` is text; a ``Path``, PCM16 bytes, an int16 or float array is audio, at most 5 minutes.
            image: PNG or JPEG, as ``Path`` or bytes; one or several.
            image_detail: How closely images are looked at.
            rate: Samples per second of bytes and arrays.
            **how: ``previous_item_id``, ``event_id``, ``wait``, ``timeout`` of :meth:`create`.

        Raises:
            AudioFormatError: Audio is none. Nothing was sent. Likewise ``AudioFileError``.
            ConfigurationError: There is no input, or too much audio, or an image is none. Nothing was sent.
        """
        wire_format = self._engine.history.input_format
        items = contents.user_items(contents.Message(inputs, image, image_detail, rate), wire_format)
        if len(items) != 1:
            raise ConfigurationError("a message needs an input, and holds at most 5 minutes of audio: send it in parts")
        return self.create(items[0], **how)

    def create_system_message(self, text: str, **how: Any) -> dict[str, Any]:
        """Add a system message; *how* as in :meth:`create_user_message`."""
        return self.create(contents.system_item(text), **how)

    def create_assistant_message(self, text: str, **how: Any) -> dict[str, Any]:
        """Add what the assistant is to have said, as text; *how* as in :meth:`create_user_message`."""
        return self.create(contents.assistant_item(text), **how)

    def create_function_output(self, call_id: str, output: object, **how: Any) -> dict[str, Any]:
        """Add the output of a function that the model called.

        Args:
            call_id: Of the call.
            output: A ``str``, or what has a JSON form.
            **how: As in :meth:`create_user_message`.
        """
        return self.create(contents.output_item(call_id, output), **how)

    def retrieve(
        self, item_id: str, *, event_id: str | None = None, timeout: float | None = 10.0, wait: bool = True
    ) -> dict[str, Any]:
        """Ask the server for an item, with its audio.

        Returns:
            The item; ``{}`` without waiting.
        """
        event = client_event("conversation.item.retrieve", event_id, item_id=item_id)
        return inner(self._do(event, wait=wait, timeout=timeout), "item")

    def truncate(
        self,
        item_id: str,
        audio_end_ms: int,
        *,
        content_index: int = 0,
        event_id: str | None = None,
        wait: bool = True,
        timeout: float | None = 10.0,
    ) -> None:
        """Cut an assistant's audio off where it was stopped being heard; its transcript goes with it (protocol.md 4.8).

        Args:
            item_id: A message of the assistant, with audio.
            audio_end_ms: Milliseconds that were played, not more than there are.
            content_index: The part with the audio.
            event_id: As in the class.
            wait: As in the class.
            timeout: As in the class.
        """
        place = {"item_id": item_id, "content_index": content_index, "audio_end_ms": audio_end_ms}
        self._do(client_event("conversation.item.truncate", event_id, **place), wait=wait, timeout=timeout)

    def delete(
        self, item_id: str, *, event_id: str | None = None, wait: bool = True, timeout: float | None = 10.0
    ) -> None:
        """Take an item out of the conversation."""
        self._do(client_event("conversation.item.delete", event_id, item_id=item_id), wait=wait, timeout=timeout)

    def _do(self, event: dict[str, Any], *, wait: bool, timeout: float | None) -> dict[str, Any]:
        if wait:
            return call(self._engine, event, timeout)
        self._engine.sender.send(event, timeout)
        return {}


class Conversation(ConversationView):
    """``session.conversation``: the conversation so far, and the methods that change it.

    Attributes:
        item: Creates, retrieves, truncates and deletes its items.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.history, engine.keeper)
        self.item = ConversationItems(engine)
