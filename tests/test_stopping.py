"""Signals become one exception: raised at once, put off, noted, passed over when repeated, never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
START = """
import os, signal, sys, time
from mdcsrn import stopping
from mdcsrn.stopping import Stopped
def send(number=signal.SIGTERM):
    signal.raise_signal(number)
"""


def run(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", START + code], env=environment, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        **options,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_the_process_ends_with_the_code_of_a_shell_and_cleans_up(name: str, code: int) -> None:
    done = run(f"""
with stopping.handled():
    try:
        try:
            send(signal.{name})
        except Exception:
            print("swallowed")
    finally:
        print("cleaned up")
""")
    assert (done.returncode, done.stdout, done.stderr) == (code, "cleaned up\n", "")


def test_a_signal_after_the_work_does_not_change_how_it_ended() -> None:
    """Libraries are taken down when Python has no handlers any more."""
    done = run("""
from time import sleep
kill, process = os.kill, os.getpid()
class Late:
    def __del__(self):
        kill(process, 15)
        sleep(0.1)
stopping.ignored_at_the_end()
with stopping.handled():
    late = Late()
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_put_off_to_the_end_of_a_block() -> None:
    done = run("""
with stopping.handled():
    with stopping.held():
        with stopping.held():
            send()
            print("inner")
        print("outer")
    print("never")
""")
    assert (done.returncode, done.stdout) == (143, "inner\nouter\n")


def test_a_repeated_signal_does_not_disturb_the_cleaning_up() -> None:
    done = run("""
with stopping.handled():
    try:
        send()
    finally:
        send(); send(signal.SIGINT)
        print("cleaned up")
""")
    assert (done.returncode, done.stdout) == (143, "cleaned up\n")


def test_a_later_one_is_obeyed_even_so() -> None:
    done = run("""
stopping.REPEATED = 0.1
with stopping.handled():
    try:
        send()
    except Stopped:
        time.sleep(0.2)
        send(signal.SIGINT)
        print("never")
""")
    assert (done.returncode, done.stdout) == (130, "")


def test_one_that_a_destructor_loses_comes_again() -> None:
    done = run("""
class Loses:
    def __del__(self):
        send()
with stopping.handled():
    Loses()
    time.sleep(20)
    print("never")
""")
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


def test_one_that_a_library_swallows_is_known() -> None:
    done = run("""
with stopping.handled():
    try:
        send()
    except:
        pass
    stopping.check()
""")
    assert done.returncode == 143


def test_noted_alone() -> None:
    done = run("""
with stopping.handled(), stopping.noted():
    send()
    print(stopping.requested())
stopping.check()
print("forgotten after the block")
""")
    assert (done.returncode, done.stdout) == (0, "15\nforgotten after the block\n")


def test_what_is_ignored_stays_ignored() -> None:
    done = run("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
with stopping.handled():
    send(signal.SIGHUP)
    print("went on")
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
""")
    assert (done.returncode, done.stdout) == (0, "went on\nTrue\n")


def test_a_fork_ends_by_itself() -> None:
    done = run("""
with stopping.handled(), stopping.held():
    child = os.fork()
    if child == 0:
        try:
            send()
        except Stopped as stop:
            os._exit(stop.code)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert (done.returncode, done.stdout) == (0, "143\n")


def test_one_line_at_the_end_of_a_program() -> None:
    done = run("""
stopping.install()
send()
""")
    assert (done.returncode, done.stderr) == (143, "terminated: nothing half-written is left\n")


def test_a_worker_leaves_it_to_its_parent_once() -> None:
    done = run("""
stopping.ignored_in_worker(0)
send(signal.SIGINT); send()
print("went on", flush=True)
send()
print("never")
""")
    assert (done.returncode, done.stdout) == (0, "went on\n")
