"""Runs `mdcsrn ...` in forks of one prepared process; a fork can kill itself before its N-th change of the disk.

Each line of standard input is a job as JSON: ``arguments``, ``root`` (changes below it count), ``kill_at`` (1 is the
first change; 0: never). Each answer is a line: the exit code, and the changes made, such as ``["rename", "a", "b"]``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

CHANGES = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir", "os.rmdir": "rmdir", "open": "open"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Deadly:
    """An audit hook that counts changes of the disk below a folder."""

    def __init__(self, root: str, kill_at: int, log: str) -> None:
        self.root, self.kill_at, self.process = root, kill_at, os.getpid()
        self.count = 0
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or os.getpid() != self.process:
            return
        if event == "open" and not arguments[2] & WRITING:
            return
        paths = [
            os.fspath(p) for p in arguments[: 2 if event == "os.rename" else 1] if isinstance(p, str | os.PathLike)
        ]
        relative = [p for p in paths if not os.path.isabs(p)]  # of shutil.rmtree, below a descriptor
        if not paths or not (relative or any(p.startswith(self.root) for p in paths)):
            return
        self.count += 1
        os.write(self.log, (json.dumps([CHANGES[event], *paths]) + "\n").encode())
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def run(job: dict[str, Any], folder: str) -> None:
    """In the fork."""
    for descriptor, target in ((0, os.devnull), (1, f"{folder}/stdout"), (2, f"{folder}/stderr")):
        os.dup2(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    signal.alarm(120)
    sys.addaudithook(Deadly(job["root"], job["kill_at"], f"{folder}/changes"))
    from mdcsrn.cli.main import main

    main(job["arguments"], prog_name="mdcsrn")


def serve() -> None:
    """Fork for each line."""
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            child = os.fork()
            if child == 0:
                try:
                    run(json.loads(line), folder)
                except SystemExit as end:  # os._exit: the temporary folder is the parent's
                    os._exit(int(end.code or 0))
                except BaseException:
                    traceback.print_exc()
                os._exit(70)
            _, status = os.waitpid(child, 0)
            changes = [json.loads(text) for text in Path(folder, "changes").read_text().splitlines()]
            said = Path(folder, "stderr").read_text()[-2000:]
            print(json.dumps([os.waitstatus_to_exitcode(status), changes, said]), flush=True)


if __name__ == "__main__":
    import torch

    import mdcsrn.bundle.pack
    import mdcsrn.cli.predict
    import mdcsrn.inference.pipeline
    import mdcsrn.io.dicom.write
    import mdcsrn.jobs.write
    import mdcsrn.record.verify
    import mdcsrn.report.html
    import mdcsrn.report.prediction

    # Drawing takes seconds, and changes nothing on the disk; a page is written and moved all the same.
    mdcsrn.report.prediction.page_of_prediction = lambda *_: None
    mdcsrn.report.html.render = lambda *_: '<html><meta name="generator" content="mdcsrn"></html>'
    torch.set_num_threads(1)
    serve()
