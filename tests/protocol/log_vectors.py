"""Published answers for the log's formats, as `tests/vectors/README.md` describes them."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "vectors"


def load(name: str) -> Any:
    """The JSON in `tests/vectors/{name}`."""
    return json.loads((FOLDER / name).read_text("utf-8"))
