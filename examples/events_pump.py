"""The events pump: messages in one queue, how it ended in another.

python examples/events_pump.py
"""

import threading

from _client import open_client

from meshapi_rt import MODELS, EventStream

done = threading.Event()


def consume(stream: EventStream) -> None:
    """Take messages until the pump ends, then look how it ended."""
    messages, errors = stream.queues
    while (msg := messages.get()) is not None:  # None: no more, for every consumer
        if msg.error:  # in-band: the session goes on
            print("server error:", msg.error.code)
        elif msg.audio:
            print(f"audio, {len(msg.audio)} bytes")
        else:
            print(msg.type)
        if msg.type == "response.done":
            done.set()
    done.set()
    end = errors.get()  # exactly one entry: None after a proper close, else the exception
    print("the pump ended:", "in good order" if end is None else end)


with open_client() as client:
    with client.realtime.connect(model=MODELS.GPT_REALTIME_MINI) as session:
        consumer = threading.Thread(target=consume, args=(session.events(),))
        consumer.start()
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello."}]}
        session.send({"type": "conversation.item.create", "item": message})
        session.send({"type": "response.create"})
        done.wait(timeout=60)
    consumer.join()  # closing the session ended the pump
