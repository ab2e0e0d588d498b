"""What gunicorn calls in a worker, given to it by `--config python:registry.cli.web_hooks`."""

import signal

from gunicorn.workers.base import Worker  # type: ignore[import-untyped]


def worker_int(_worker: Worker) -> None:
    """Called when a worker was told to end at once. The terminal tells it, and so does its master, who may
    come later: a second signal would interrupt the interpreter on its way out and print that as a fault.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
