"""Errors: by code, by what they ask for, and by how the session ended.

python examples/error_handling.py
"""

from _client import open_client

from meshapi_rt import (
    MODELS,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ErrorKind,
    MeshAPI,
    RealtimeError,
    RealtimeSession,
    SessionClosed,
)


def refused_request(session: RealtimeSession) -> None:
    """Provoke an error event: most of them refuse one request, and the session goes on."""
    event_id = session.send({"type": "session.update", "session": {"type": "realtime", "audio": {"volume": 11}}})
    try:
        session.wait_for("session.updated", timeout=10)
    except RealtimeError as error:
        print(f"refused: code {error.code}, param {error.param}, request_id {error.request_id}: {error.message}")
        print("it answers our event:", error.event_id == event_id)
        print("the session goes on:", error.kind is ErrorKind.REQUEST and not session.closed)


def refused_session(client: MeshAPI) -> None:
    """Ask for a model that does not exist: branch on the code, not on the words."""
    try:
        client.realtime.connect(model="openai/no-such-model").close()
    except ConnectRefused as error:  # a RealtimeError too: the server said no
        if error.code == "model_not_found":
            print("no such model; known ones are", ", ".join(MODELS))
        elif error.code in ("invalid_api_key", "unauthorized"):
            print("check MESHAPI_TOKEN")
        elif error.kind is ErrorKind.RECONNECTABLE:
            print("try again", f"in {error.retry_after} s" if error.retry_after else "later")
        else:
            print("refused for good:", error)
    except ConnectError as error:  # names, TCP, proxy, TLS, timeout
        print("no connection:", error)


def how_it_ended(session: RealtimeSession) -> None:
    """Receive until the end: every message comes first, then one of three ends."""
    try:
        while True:
            session.receive(timeout=10)
    except SessionClosed:
        print("the end: closed in good order")
    except ConnectionLost as error:
        print("the end: lost, so connect again:", error.close_code, error)
    except RealtimeError as error:
        print("the end:" if session.closed else "in between:", error.code, error.kind.value)


with open_client() as client:
    refused_session(client)
    with client.realtime.connect(model=MODELS.GPT_REALTIME_MINI) as session:
        refused_request(session)
        session.close()
        how_it_ended(session)
