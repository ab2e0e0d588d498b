"""What gunicorn calls in master and workers, given to it by `--config python:registry.cli.web_hooks`."""

import resource
import signal
from types import FrameType

from gevent import GreenletExit  # type: ignore[import-untyped]


def on_starting(_master: object) -> None:
    """Called before there is a worker: each may have as many files open, and so callers, as we may allow."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def worker_int(_worker: object) -> None:
    """Called when a worker was told to end at once. The terminal tells it, and so does its master, who may
    come later: a second signal would interrupt the interpreter on its way out and print that as a fault.

    A green worker calls this a little after the signal, so twice if both came by then: the second ends here.
    """
    if signal.getsignal(signal.SIGQUIT) is _told_already:
        raise GreenletExit
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, _told_already)


def _told_already(_number: int, _frame: FrameType | None) -> None:
    """In place of SIG_IGN: of a signal that is under way when it comes to be ignored, Python complains."""
