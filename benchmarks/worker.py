"""Turns of one client in a fresh process: ``python -m benchmarks.worker '<JSON>'``.

The argument is a list of turns, each an object with ``task``, ``client``, ``url`` and ``options``; the answer is a
list of their figures. A benchmark gives one turn to a process; a test that wants no figures gives many.
"""

from __future__ import annotations

import json
import sys

from .tasks import TASKS


def main() -> None:
    """Run what the argument says."""
    turns = json.loads(sys.argv[1])
    print(json.dumps([TASKS[turn["task"]](turn["client"], turn["url"], **turn["options"]) for turn in turns]))


if __name__ == "__main__":
    main()
