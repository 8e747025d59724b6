"""Runs `python -m monai.bundle ...` in forks of one process that has imported everything, since imports take seconds.

Each line of standard input is a job as JSON: arguments, folder, environment, files for both streams, seconds. Each
answer is a line: exit code and peak memory. A fork runs the module as the interpreter would: its own arguments, its
own exception hook, its own exit.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections.abc import Iterator


def jobs() -> Iterator[dict]:
    """Fork for each line; only a fork is given its job."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            yield json.loads(line)
            return
        _, status, usage = os.wait4(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss / 2**20]), flush=True)


if __name__ == "__main__":
    import ignite.engine  # noqa: F401
    import monai.bundle
    import monai.engines
    import monai.handlers  # noqa: F401

    import mdcsrn.engines
    import mdcsrn.evaluation
    import mdcsrn.inference
    import mdcsrn.report
    import mdcsrn.transforms  # noqa: F401

    for job in jobs():
        os.chdir(job["folder"])
        os.environ.update(job["environment"])
        sys.path[0] = job["folder"]  # as `python -m` has it
        for descriptor, target in ((0, os.devnull), (1, job["stdout"]), (2, job["stderr"])):
            os.dup2(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
        signal.alarm(job["seconds"])
        sys.argv = ["monai.bundle", *job["arguments"]]
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
