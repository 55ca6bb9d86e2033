"""A fresh process in which one client takes its turns: ``python -m benchmarks.worker``.

Each line of standard input asks for a turn: an object with ``task``, ``client``, ``url`` and ``options``. The answer
is a line with its figures. The same line again is another turn of the same work, whose sessions may have stayed open.
A benchmark gives one kind of turn to a process; a test that wants no figures gives many.
"""

from __future__ import annotations

import json
import sys

from .tasks import TASKS, Work


def main() -> None:
    """Take turns until standard input ends."""
    begun: dict[str, Work] = {}
    for line in sys.stdin:
        if line not in begun:
            asked = json.loads(line)
            begun[line] = TASKS[asked["task"]](asked["client"], asked["url"], **asked["options"])
        print(json.dumps(begun[line]()), flush=True)


if __name__ == "__main__":
    main()
