"""Why a checkpoint is not cosigned. Which HTTP status each leaves with is decided at the face."""

from registry.errors import RegistryError


class NotCosigned(RegistryError):
    """The witness answers, and does not cosign. The message says what the log should do."""


class UnknownLog(NotCosigned):
    """No log with this origin is on the witness's list."""


class NotTheLogs(NotCosigned):
    """None of the signatures is a good one by a key that is listed for the origin."""


class ImpossibleSize(NotCosigned):
    """The proof claims to begin beyond the checkpoint's own size."""


class OtherSize(NotCosigned):
    """The witness holds another size than the proof begins from."""

    def __init__(self, held: int) -> None:
        super().__init__(f"this witness holds a checkpoint of size {held}: prove from there")
        self.held = held


class Inconsistent(NotCosigned):
    """The checkpoint is not shown to go on from the one that the witness holds."""
