"""Being asked to stop: pre-emption, `scancel`, a time limit, Ctrl-C.

Whoever asks waits for a moment before it kills (Slurm for its ``KillWait``, 30 s): time for a
training to finish its step and to save what it has.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cdsp.io.locks import leave_locks_to_the_parent

EXIT_CODE = os.EX_TEMPFAIL
"""75, "temporary failure; the user is invited to retry": of a command that was asked to stop."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


PATIENCE = 2.0
"""Seconds: a signal that comes sooner after the first is the same wish, told by another."""


class StopRequest:
    """Whether somebody has asked this process to stop.

    Attributes:
        signal: the name of the signal that asked; None as long as nobody has.
    """

    signal: str | None = None


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Note SIGTERM and SIGINT in the block instead of ending by them; a later one does end it.

    In another thread than the main one, where Python takes no signals, nothing is ever noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    noted = 0.0
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted
        if request.signal is None:
            request.signal, noted = signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - noted > PATIENCE:
            restore()
            os.kill(os.getpid(), number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        for number in _SIGNALS:
            signal.signal(number, note)
        yield request
    finally:
        restore()


def prepare_worker(worker: int) -> None:
    """For a data-loading process: stopping, and locks, are its parent's affair.

    Whoever signals the whole group must not end it while the parent is in the middle of a step.
    """
    leave_locks_to_the_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    threading.Thread(target=_end_by_the_parent, args=(os.getppid(),), daemon=True).start()


def _end_by_the_parent(parent: int) -> None:
    while signal.sigwaitinfo(_SIGNALS).si_pid != parent:
        pass
    os._exit(0)
