"""The example notebook: its source is clean, it runs in a real kernel, and a browser shows what it makes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshapi_rt import audio_files
from meshapi_rt.local import LocalServer

from .faces import EXAMPLES, QUESTION, environment

pytest.importorskip("nbclient", reason="the notebook is run by nbclient, of the [test] extra")
pytest.importorskip("ipykernel", reason="a kernel comes with ipykernel, of the [test] extra")

import nbformat

NOTEBOOK = EXAMPLES / "notebook.ipynb"
TOKEN = "rsk_the-right-one"
BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome", "chrome"))), None)
SECONDS = 50.0  # for kernel and browser, on a busy machine

# How a notebook's page looks around the outputs, on light and dark; what the browser finds goes into the title.
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>?</title>
<body style="margin:16px;width:720px;font:14px/1.3 sans-serif;color:{ink};background:{paper}">{outputs}<script>
const all = name => [...document.querySelectorAll(name)];
const ready = all("audio").map(player => new Promise(done => {{
  if (player.readyState) done();
  player.onloadedmetadata = player.onerror = done;
}}));
Promise.all(ready).then(() => {{
  document.title = JSON.stringify({{
    lengths: all("audio").map(player => player.duration),
    waves: all("path").map(path => Math.round(path.getBoundingClientRect().height)),
    wide: all("div").filter(div => div.getBoundingClientRect().right > 736).length,
    inks: [...new Set(all("div").map(div => getComputedStyle(div).color))],
  }});
}});
</script>"""


def ran(env: dict[str, str], folder: Path) -> Any:
    """Run a copy of the notebook in a folder where the recording lies; return it with its outputs."""
    shutil.copy(QUESTION, folder)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    env |= {"PYTHONWARNINGS": "default"}
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", f"--timeout={SECONDS:.0f}", "notebook.ipynb"]
    shutil.copy(NOTEBOOK, folder / "notebook.ipynb")
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
