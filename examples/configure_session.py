"""Configure a session, and read what the server made of it.

python examples/configure_session.py
"""

from _client import open_client

from meshapi_rt import MODELS

with open_client() as client, client.realtime.connect(model=MODELS.GPT_REALTIME_MINI) as session:
    session.send(
        {
            "type": "session.update",
            "session": {
                "type": "realtime",  # needed in every update
                "instructions": "You are a friendly assistant. Answer in one sentence.",
                "output_modalities": ["audio"],
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24000},
                        "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 500},
                    },
                    "output": {"voice": "marin", "speed": 1.0},
                },
            },
        }
    )
    session.wait_for("session.updated", timeout=10)  # a refused update raises RealtimeError here

    settings = session.settings  # as the server confirmed it; fields that were left out are unchanged
    print("instructions:", settings["instructions"])
    print("voice:", settings["audio"]["output"]["voice"])
    print("turn detection:", settings["audio"]["input"]["turn_detection"]["type"])
