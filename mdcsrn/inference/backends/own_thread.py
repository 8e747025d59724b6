"""Run a call in its own thread: OpenVINO corrupts the caller's signal stack.

OpenVINO's processor plugin gives the thread that loads it another stack for signal handlers
(``sigaltstack(2)``: frames with wide registers need room), and puts the one before back when it is unloaded. Plugins
unloaded in any order but the reverse of their loading put back a stack whose memory is gone, and the next signal with a
handler, a Ctrl-C or the end of a child process, is a segmentation fault. Signal stacks belong to one thread: in a
thread that ends at once no handler ever runs on them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def in_own_thread(call: Callable[[], Result]) -> Result:
    """What `call` returns or raises, in a thread of its own.

    Thread-local settings, torch's modes among them, are not taken along.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(call).result()
