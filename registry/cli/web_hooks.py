"""What gunicorn calls in a worker, given to it by `--config python:registry.cli.web_hooks`."""

import signal
from types import FrameType


def worker_int(_worker: object) -> None:
    """Called when a worker was told to end at once. The terminal tells it, and so does its master, who may
    come later: a second signal would interrupt the interpreter on its way out and print that as a fault.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, _told_already)


def _told_already(_number: int, _frame: FrameType | None) -> None:
    """In place of SIG_IGN: of a signal that is under way when it comes to be ignored, Python complains."""
