"""What a program that runs for ever needs of its process."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent ends, even if that is killed: nobody is left to start a second one.

    To be called by the main thread of a program that supervisord starts. Linux only, prctl(2).
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before this took effect
        os.kill(os.getpid(), signal.SIGTERM)


def stop_signal(then: Callable[[], None] | None = None) -> threading.Event:
    """An event that SIGTERM and SIGINT set; `then` is called in the signal handler. For the main thread."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()
        if then is not None:
            then()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    return stopping
