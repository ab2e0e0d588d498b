"""Lets every answer to a phone leave at arrival + 300 ms, or at the next multiple of it.

How long an answer took would tell chaff from an upload, a right code from a wrong one, and a number's first
report from its second. The hold is around the whole application, so that no error path escapes it.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class EvenPace:
    """A WSGI application around another one. Paths that begin with one of `exempt` are not held."""

    def __init__(
        self,
        application: "WSGIApplication",
        *,
        milliseconds: int,
        exempt: tuple[str, ...],
        sleep: Callable[[float], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._application = application
        self._seconds = milliseconds / 1000
        self._exempt = exempt
        self._sleep = sleep
        self._monotonic = monotonic

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if not self._seconds or environ.get("PATH_INFO", "").startswith(self._exempt):
            return self._application(environ, start_response)
        arrival = self._monotonic()
        head: list[tuple[Any, ...]] = []
        written: list[bytes] = []

        def hold_back(*arguments: Any) -> Callable[[bytes], object]:
            head[:] = [arguments]
            return written.append

        answer = self._application(environ, hold_back)
        try:
            written.extend(answer)
        finally:
            close = getattr(answer, "close", None)
            if close is not None:
                close()
        taken = self._monotonic() - arrival
        due = max(1, math.ceil(taken / self._seconds)) * self._seconds
        # By now nothing is held but this thread: the database connection went back with the request.
        self._sleep(max(0.0, due - taken))
        start_response(*head[-1])
        return [b"".join(written)]
