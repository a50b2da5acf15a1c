"""A helper process outlives signals that are not from its parent, and ends when that says so."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from dense_lt.utils.children import heed_only_parent


def _child(ready):
    heed_only_parent()
    ready.set()
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="senders of signals are only known on Linux")
def test_signals_of_others_are_ignored_and_the_parents_obeyed():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_child, args=(ready,), daemon=True)
    child.start()
    assert ready.wait(30)
    os.kill(child.pid, signal.SIGINT)
    subprocess.run(["kill", "-TERM", str(child.pid)], check=True)
    child.join(0.3)
    assert child.is_alive()
    child.terminate()
    child.join(30)
    assert child.exitcode == 0
