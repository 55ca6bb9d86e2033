"""The example notebook: its source is clean, it runs in a real kernel, and a browser shows what it makes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from meshapi_rt import audio_files
from meshapi_rt.local import LocalServer

from .faces import EXAMPLES, LIMIT, QUESTION, environment

pytest.importorskip("nbclient", reason="the notebook is run by nbclient, of the [test] extra")
pytest.importorskip("ipykernel", reason="a kernel comes with ipykernel, of the [test] extra")

import nbformat
from nbclient import NotebookClient

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own are not ours

NOTEBOOK = EXAMPLES / "notebook.ipynb"
TOKEN = "rsk_the-right-one"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome", "chrome"))), None
)
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


def run(env: dict[str, str], folder: Path) -> dict[str, list[Any]]:
    """Run the notebook in a folder where the recording lies; return the outputs of each cell."""
    shutil.copy(QUESTION, folder)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    env |= {"PYTHONWARNINGS": "default", "IPYTHONDIR": str(folder)}
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=where).execute(env=env)
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return what the cells made without a token."""
    return run(environment(), tmp_path_factory.mktemp("notebook"))


def shown(outputs: list[Any]) -> str:
    """Return what a cell displayed."""
    (result,) = outputs
    return str(result.data["text/html"])


def test_the_source_is_clean() -> None:
    """No outputs, no counts, and ids that stay, so that a change of it can be read."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)

    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cell.id)
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    saved = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert NOTEBOOK.read_text(encoding="utf-8") == json.dumps(saved, indent=1, ensure_ascii=False) + "\n"


def test_the_notebook_without_a_token(outputs: dict[str, list[Any]]) -> None:
    """It talks to a parrot of its own, and each of its cells shows what it is about."""
    assert "● openai/gpt-realtime-mini</strong> · open" in shown(outputs["connect"]).replace("</span> <strong>", " ")
    assert "What is the capital of France?" in shown(outputs["ask"])
    assert "<audio" in shown(outputs["speak"])
    assert "".join(part.text for part in outputs["stream"]) == "One, two, three, four, five."
    assert "&quot;celsius&quot;: 21" in shown(outputs["tool"])
    conversation = shown(outputs["conversation"])
    assert conversation.count("What is the capital of France?") == 2
    assert "&quot;celsius&quot;: 21" in conversation
    assert "responses; input" in outputs["usage"][0].data["text/plain"]
    assert "closed, 1000" in shown(outputs["close"])


def test_the_notebook_with_a_token(tmp_path: Path) -> None:
    """It talks to the server that the environment names, leaves nothing open, and never shows the token."""
    with LocalServer(token=TOKEN, models=["openai/gpt-realtime-mini"]) as server:
        outputs = run(environment(server, token=TOKEN), tmp_path)

        assert server.connections_total == 1
        assert server.wait_idle(LIMIT)
    assert TOKEN not in str(outputs)


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, outputs: dict[str, list[Any]], tmp_path: Path) -> Path:
    """Return the file of a page with all that was displayed."""
    paper, ink = ("#ffffff", "#1f1f1f") if request.param == "light" else ("#111111", "#e0e0e0")
    found = [
        output.data["text/html"]
        for cell in outputs.values()
        for output in cell
        if "text/html" in output.get("data", {})
    ]
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(paper=paper, ink=ink, outputs="<p>".join(found)), encoding="utf-8")
    return path


def browse(page: Path, *arguments: str) -> str:
    """Open a page in a headless browser."""
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", "--hide-scrollbars"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--window-size=760,2400", "--virtual-time-budget=10000"]
    done = subprocess.run(
        [*command, *arguments, page.as_uri()], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_the_notebook(page: Path, outputs: dict[str, list[Any]]) -> None:
    """Every player holds its audio, every waveform is seen, nothing is too wide, and text has the page's colour."""
    title = re.search(r"<title>(.*)</title>", browse(page, "--dump-dom"))
    assert title is not None
    seen = json.loads(title[1])

    question = audio_files.read(QUESTION).size / 24_000
    assert len(seen["lengths"]) == len(seen["waves"]) >= 8
    assert (
        sum(abs(length - question) < 0.01 for length in seen["lengths"]) >= 3
    )  # asked, answered, and in the end again
    assert min(seen["lengths"]) > 0.1
    assert min(seen["waves"]) >= 30
    assert seen["wide"] == 0
    assert len(seen["inks"]) == 1


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_picture_of_the_notebook(page: Path) -> None:
    """It is there to be looked at, beside the page."""
    browse(page, f"--screenshot={page.with_suffix('.png')}")

    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
