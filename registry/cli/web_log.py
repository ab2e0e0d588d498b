"""The web server's own log, without those who call.

Gunicorn warns of requests that it cannot parse with the address and the request line, and tells the path of
one that failed. Both may name a phone, a code or a link; the fact that it happened is enough.
"""

import logging

from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]


class WebLog(Logger):  # type: ignore[misc]  # Gunicorn publishes no types
    """Gunicorn's logger with `forget_callers` in front."""

    def setup(self, cfg: Config) -> None:
        """Called by gunicorn for master and workers."""
        super().setup(cfg)
        self.error_log.addFilter(forget_callers)


def forget_callers(record: logging.LogRecord) -> bool:
    """Keep no word of an unreadable request; of one that failed, only that it did.

    And no guess about memory when a client that never finished its request held a worker at the end.
    """
    said = str(record.msg)
    if "was sent" in said and "SIGKILL" in str(record.args):
        record.msg, record.args = "a worker had to be ended", ()
    if said.startswith("Invalid request"):
        return False
    if said.startswith("Error handling request"):
        kind = record.exc_info[0] if record.exc_info else None
        record.msg = f"a request failed: {kind.__qualname__ if kind else 'unknown'}"
        record.args, record.exc_info = (), None
    return True
