"""Open a session and close it.

python examples/connect_and_close.py
"""

from _client import open_client

from meshapi_rt import MODELS, RealtimeConnectParams

with open_client() as client:
    # connect() returns when the server has said hello; the with block closes the session.
    with client.realtime.connect(model=MODELS.GPT_REALTIME_MINI) as session:
        print(f"connected: {session.id}, which the server calls {session.settings.get('model')}")

    # The same without a with block, and with the settings in one object.
    params = RealtimeConnectParams(model="openai/gpt-realtime-mini", timeout=10)
    session = client.realtime.connect(params)
    try:
        print(f"connected: {session.id}")
    finally:
        session.close()  # any thread, any number of times
    print(f"closed with code {session.close_code}")
