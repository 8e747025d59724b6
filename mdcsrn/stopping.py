"""Turn Ctrl-C, a request to end and a closed terminal into one exception that cleans up on its way out.

A command, a bundle run and a training run share these handlers. The exception is a ``SystemExit`` with the exit code of
a shell (130, 143, 129), so it passes ``except Exception`` and ends any program without a traceback.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

REPEATED = 3.0  # seconds: a terminal and a launcher both pass on one Ctrl-C; a later one is meant
RETRY = 0.02  # seconds until a signal whose exception was lost in a destructor is raised again
WORDS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}

WORKER_GRACE_S = 20.0  # of a loader worker after the first request to end: its parent may need one more batch


class Stopped(SystemExit):
    """A signal that ends the process.

    Args:
        number: of the signal.
        text: what to report, one line; None: that nothing half-written is left; empty: nothing.
    """

    def __init__(self, number: int, text: str | None = None) -> None:
        super().__init__(128 + number)
        self.number = number
        self.text = text


class _State:
    """What the handlers know; the handlers run in the main thread alone."""

    installed = False
    noting = False
    reported = False
    pending = False
    holds = 0
    process = 0
    since = 0.0
    number: int | None = None


_state = _State()


def requested() -> int | None:
    """Number of the signal that asked this process to end, or None."""
    return _state.number


def check() -> None:
    """Raise :class:`Stopped` where a signal has asked for the end, for instance one that a library swallowed."""
    if _state.number is not None:
        raise Stopped(_state.number)


def report(stop: Stopped | None = None) -> None:
    """Print the one line about the end on the error stream, the first time that this is called."""
    number = _state.number if stop is None else stop.number
    if number is None or _state.reported:
        return
    _state.reported = True
    text = None if stop is None else stop.text
    if text is None:
        text = f"{WORDS[number]}: nothing half-written is left"
    if not text:
        return
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone, or the stream closed
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Raise :class:`Stopped` at a signal within the block.

    Nothing changes outside of the main thread, within another such block, and for a signal that is ignored already
    (``nohup``, a job in the background).
    """
    if _state.installed or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _install()
    hook = sys.unraisablehook
    sys.unraisablehook = lambda lost: _again(lost) or hook(lost)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        _state.installed, _state.number = False, None


def install() -> None:
    """Raise :class:`Stopped` at a signal from now on, and report the end when the process ends."""
    if not _state.installed and threading.current_thread() is threading.main_thread():
        _install()
        atexit.register(report)


def ignored_at_the_end() -> None:
    """Ignore signals once all is done and only libraries are taken down, which takes half a second with torch.

    Python has taken the handlers away by then: the process would die of the signal, although its results are whole.
    To be called before anything else asks to be told of the end, as the first is told last.
    """
    atexit.register(lambda: [signal.signal(number, signal.SIG_IGN) for number in WORDS])


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Put off a signal to the end of the block, for a few renames that belong together."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.holds += 1
    try:
        yield
    finally:
        _state.holds -= 1
        if _state.pending and not _state.holds:
            _state.pending = False
            check()


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Only take note of a signal within the block, for work that looks at :func:`requested`; a second one raises."""
    before, _state.noting = _state.noting, True
    try:
        yield
    finally:
        _state.noting = before


def ignored_in_worker(_: int = 0) -> None:
    """Leave signals to the parent, in a worker of a data loader: a terminal or a scheduler sends them to both.

    The parent ends its workers by a signal too, if all else fails: a request to end is obeyed when it comes again, or
    after the time that the parent has for its own step.
    """
    asked: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(0)
        asked.append(number)
        signal.setitimer(signal.ITIMER_REAL, WORKER_GRACE_S)

    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    for number in WORDS:
        signal.signal(number, end if number == signal.SIGTERM else signal.SIG_IGN)


def _install() -> dict[int, signal._HANDLER]:
    """Set the handlers; what was there before."""
    _state.installed, _state.process = True, os.getpid()
    _state.number, _state.pending, _state.reported = None, False, False
    before: dict[int, signal._HANDLER] = {}
    for number in WORDS:
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN and handler is not None:
            before[number] = signal.signal(number, _handle)
    return before


def _handle(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state.process:  # a fork: its parent's blocks are not its own
        raise Stopped(number)
    now, first = time.monotonic(), _state.number is None
    if not first and now - _state.since < REPEATED:
        return
    _state.number, _state.since = number, now
    if _state.holds:
        _state.pending = not (_state.noting and first)
    elif not (_state.noting and first):
        raise Stopped(number)


def _again(lost: sys.UnraisableHookArgs) -> bool:
    """Raise again what a destructor or a callback of the interpreter has lost; True where it was a signal."""
    stop = lost.exc_value
    if not isinstance(stop, Stopped) or os.getpid() != _state.process:
        return False
    _state.number = None
    timer = threading.Timer(RETRY, signal.pthread_kill, (threading.main_thread().ident, stop.number))
    timer.daemon = True
    timer.start()
    return True
