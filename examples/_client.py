"""Whom the examples talk to: the gateway with ``MESHAPI_TOKEN`` set, else a local server started for them."""

import contextlib
import os
from collections.abc import Iterator

from meshapi_rt import MODELS, MeshAPI
from meshapi_rt.local import LocalServer


@contextlib.contextmanager
def open_client() -> Iterator[MeshAPI]:
    """Yield a client, and close it and its sessions at the end."""
    if os.environ.get("MESHAPI_TOKEN"):
        with MeshAPI() as client:  # reads MESHAPI_TOKEN, and MESHAPI_BASE_URL if it is set
            yield client
    else:
        with LocalServer(models=list(MODELS)) as server, server.client() as client:
            yield client
