"""Receive frames one by one: raw audio, JSON text, parsed events.

python examples/receive_frames.py
"""

from _client import open_client

from meshapi_rt import MODELS, RealtimeError, TimedOut

with open_client() as client, client.realtime.connect(model=MODELS.GPT_REALTIME_MINI) as session:
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello."}]}
    session.send({"type": "conversation.item.create", "item": message})
    session.send({"type": "response.create"})

    while True:
        try:
            msg = session.receive(timeout=30)
        except RealtimeError as error:  # the server refused something; the session goes on
            print("error:", error.code, error.message)
            continue
        except TimedOut:
            print("the server has been silent for 30 s")
            break
        if msg.audio:  # decoded PCM16, whichever frame brought it
            print(f"audio, {len(msg.audio)} bytes")
        elif msg.event:  # the parsed object; msg.text is the JSON as it came
            print(f"{msg.type}, {len(msg.text or '')} characters")
        if msg.type == "response.done":
            break
