"""Judge a request before it becomes a session: path, authentication, model (protocol.md 1.1 to 1.3). Pure."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

import attrs

from .failures import Terminal
from .options import ServerOptions
from .settings import is_transcription_model

__all__ = ["SUBPROTOCOL", "Verdict", "judge"]

PATH = "/v1/realtime"
SUBPROTOCOL = "openai-realtime"
_SCHEME = "bearer"


@attrs.frozen(kw_only=True)
class Verdict:
    """What becomes of a request.

    Attributes:
        status: An HTTP status, where there is nothing to upgrade: 404 or 426.
        refusal: Why there is no session, or ``None``.
        model: The model that was asked for.
        session_type: ``realtime`` or ``transcription``.
        subprotocols: What the client offers, without its key: this is what may be negotiated.
    """

    status: int | None = None
    refusal: Terminal | None = None
    model: str = ""
    session_type: str = "realtime"
    subprotocols: Sequence[str] = ()


def judge(target: str, headers: Sequence[tuple[str, str]], options: ServerOptions) -> Verdict:
    """Judge a request.

    Args:
        target: Path and query.
        headers: Names and values, repeated ones repeated.
        options: The server's; its token and its models count.
    """
    url = urlsplit(target)
    if url.path != PATH:
        return Verdict(status=404)
    if "websocket" not in [value.strip().lower() for value in _values(headers, "upgrade")]:
        return Verdict(status=426)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    offered = [part.strip() for line in _values(headers, "sec-websocket-protocol") for part in line.split(",")]
    kept = [part for part in offered if part and not _is_bearer(part)]
    model = query.get("model", "")
    transcribes = query.get("intent") == "transcription" or is_transcription_model(model)
    return Verdict(
        refusal=_refusal(query, offered, headers, options),
        model=model,
        session_type="transcription" if transcribes else "realtime",
        subprotocols=kept,
    )


def _refusal(
    query: dict[str, str],
    offered: Sequence[str],
    headers: Sequence[tuple[str, str]],
    options: ServerOptions,
) -> Terminal | None:
    if any("realtime=v1" in value.replace(" ", "") for value in _values(headers, "openai-beta")):
        return Terminal("beta_api_shape_disabled", "The Realtime Beta API is no longer supported.")
    token = _token(query, offered, headers)
    if not token or (options.token is not None and not _same(token, options.token)):
        return Terminal("invalid_api_key", "The API key is missing, malformed or unknown.")
    model = query.get("model", "")
    if not model and query.get("intent") != "transcription":
        return Terminal("bad_request", "The query parameter 'model' is missing.")
    if model and options.models is not None and model not in options.models:
        return Terminal("model_not_found", f"The model '{model}' does not exist or is not allowed.")
    return None


def _token(query: dict[str, str], offered: Sequence[str], headers: Sequence[tuple[str, str]]) -> str | None:
    """Find the key: the subprotocol wins over the query, the query over the header."""
    for part in offered:
        if _is_bearer(part):
            return part[len(_SCHEME) :].strip()
    if "api_key" in query:
        return query["api_key"]
    for value in _values(headers, "authorization"):
        if _is_bearer(value.strip()):
            return value.strip()[len(_SCHEME) :].strip()
    return None


def _is_bearer(text: str) -> bool:
    return text.lower() == _SCHEME or text.lower().startswith(_SCHEME + " ")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


def _values(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]
