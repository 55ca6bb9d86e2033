"""Token, model, session and a first answer."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING

from ...client import MeshAPI
from ...errors import MeshAPIError, MissingExtraError
from ...models import MODELS
from ...params import Auth
from ...waiting import Wait
from .checkup import Check, Finding, fail, ok, skip, warn

if TYPE_CHECKING:
    from ...session import RealtimeSession

__all__ = ["Service", "look_at_token"]

_QUESTION = "Say the word yes, and nothing else."
_SLOW = 3.0  # seconds to the first audio, beyond which nobody takes it for a conversation
_CLOSE_TIMEOUT = 0.5  # seconds; nobody waits for a goodbye
_PREFIX = "rsk_"  # of every key of the gateway (protocol.md 1.2)
# What documentation writes in place of a key, and what scripts make of one that is not there.
_PLACEHOLDER = re.compile(
    r"\.\.\.|\*\*\*|x{4}|[<>{}$]|your|change.?me|replace|placeholder|example|^(rsk_|none|null|undefined|token|key)$",
    re.IGNORECASE,
)
_QUOTES = "'\"`\u2018\u2019\u201c\u201d"


def look_at_token(token: str, *, anything_goes: bool) -> Finding:
    """Judge a token by its shape, without showing any of it.

    Args:
        token: What the environment holds.
        anything_goes: The server is no gateway, so that its keys may look like anything.
    """
    facts = {"present": True, "characters": len(token)}
    told = f"MESHAPI_TOKEN holds {len(token)} character{'s' if len(token) > 1 else ''}"
    bare = token.strip()
    if bare != token:
        return fail(f"{told}, with white space at an end: set it again without", **facts)
    if bare[:7].lower() == "bearer ":
        return fail(f"{told}, and begins with the word Bearer: set it to the key alone", **facts)
    if bare[0] in _QUOTES or bare[-1] in _QUOTES:
        return fail(
            f"{told}, with quotes around it: set it without them (`set` on Windows and env files keep quotes)", **facts
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        return fail(f"{told}, with white space or characters that no key has: check how it was copied", **facts)
    if anything_goes:
        return ok(told, **facts)
    if _PLACEHOLDER.search(token):
        return warn(f"{told}, and looks like a placeholder: set it to your own key", **facts)
    if not token.startswith(_PREFIX):
        return warn(f"{told}, and does not begin as keys of the gateway do ({_PREFIX}): check whose key it is", **facts)
    return ok(f"{told}, and has the shape of a key", **facts)


class Service:
    """A session, opened by one check and used by the next, with the server that was asked for or one of our own.

    Without a token for a server elsewhere, a local server shows that the rest works.

    Args:
        base_url: As a client takes it.
        model: The model's id.
        auth: How the token is sent.
        leads_here: The server is on this machine: any token will do.
        offline: Nothing may go over the network.
        cancel: Ends whatever waits.
    """

    def __init__(
        self, base_url: str, *, model: str, auth: Auth, leads_here: bool, offline: bool, cancel: threading.Event
    ) -> None:
        self._base_url = base_url
        self._model = model
        self._auth = auth
        self._leads_here = leads_here
        self._offline = offline
        self._cancel = cancel
        self._token = os.environ.get("MESHAPI_TOKEN", "")
        self._local = offline or not (self._token or leads_here)
        self._stack = contextlib.ExitStack()
        self._session: RealtimeSession | None = None

    def checks(self) -> list[Check]:
        """Return the checks of the service; those of the way to it come before."""
        needs = () if self._local else ("server", "proxy", "names", "tcp", "tls", "token")
        return [
            Check("token", self._look_at_token),
            Check("model", self._look_at_model),
            Check("session", self._open, needs),
            Check("first audio", self._ask, ("session",)),
        ]

    def close(self) -> None:
        """End the session, and the server if it was ours."""
        self._stack.close()

    def _look_at_token(self, _wait: Wait) -> Finding:
        if self._token:
            return look_at_token(self._token, anything_goes=self._leads_here)
        if self._leads_here:
            return ok("none, and none is needed: a local server takes any", present=False)
        told = "none: set the environment variable MESHAPI_TOKEN to your key (rsk_...)"
        return (warn if self._offline else fail)(told, present=False)

    def _look_at_model(self, _wait: Wait) -> Finding:
        known = [model.value for model in MODELS]
        if self._model in known:
            return ok(f"{self._model} is known", model=self._model, known=True)
        return warn(
            f"{self._model} is not among the models that this version knows ({', '.join(known)}): check its spelling, "
            "and whether a session opens",
            model=self._model,
            known=False,
        )

    def _open(self, wait: Wait) -> Finding:
        try:
            client = self._client()
        except MissingExtraError as exc:
            return skip(f"nobody to talk to: no token, and {exc}", local=True)
        began = time.monotonic()
        self._session = client.realtime.connect(
            model=self._model, timeout=wait.timeout, cancel=self._cancel, close_timeout=_CLOSE_TIMEOUT
        )
        took = time.monotonic() - began
        return ok(f"opened after {round(1000 * took)} ms{self._with_whom()}", local=self._local)

    def _client(self) -> MeshAPI:
        if not self._local:
            token = self._token or "local"
            return self._stack.enter_context(MeshAPI(token, self._base_url, auth=self._auth))
        from ...local import LocalServer  # noqa: PLC0415 - most runs need none

        server = self._stack.enter_context(LocalServer(idle_timeout=None, session_limit=None))
        return self._stack.enter_context(server.client(auth=self._auth))

    def _ask(self, wait: Wait) -> Finding:
        session = self._session
        if session is None:
            return skip("there is no session")
        if session.settings.get("type") == "transcription":
            return skip(f"{self._model} writes down what it hears, and answers nothing")
        reply = session.ask(
            _QUESTION, output_modalities="audio", conversation="none", timeout=wait.timeout, cancel=self._cancel
        )
        first, total = reply.timings.first_audio, reply.timings.total
        if reply.error is not None:
            raise reply.error
        if first is None:
            raise MeshAPIError(f"the answer is {reply.status} and holds no audio: choose a model that speaks")
        told = f"after {round(1000 * first)} ms, the whole answer after {round(1000 * total)} ms{self._with_whom()}"
        facts = {"first_audio": first, "total": total, "local": self._local}
        if first > _SLOW:
            return warn(f"{told}: slow; compare with tcp above, else try a smaller model or another hour", **facts)
        return ok(told, **facts)

    def _with_whom(self) -> str:
        if not self._local:
            return ""
        return f" with a local server, {'to stay offline' if self._offline else 'as there is no token'}"
