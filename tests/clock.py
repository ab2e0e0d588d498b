"""The one time source of a test, moved by hand. No test waits for, or reads, the machine's clock."""

NOON_OF_JUNE_15 = 1_781_524_800.0
"""2026-06-15T12:00:00Z, in unix seconds: a multiple of ten minutes, of an hour and of half a day."""


class FakeClock:
    """A `Clock` (callable, unix seconds) that stands still until `advance` moves it."""

    def __init__(self, now: float = NOON_OF_JUNE_15) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`; a negative number is a clock that was set back."""
        self.now += seconds
