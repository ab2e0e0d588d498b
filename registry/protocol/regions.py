"""Region codes: what a key, an index and a file name carry to say where they belong.

ISO 3166-1 alpha-2 or ISO 3166-2, upper case (`CN`, `CN-HB`; `XA` is user-assigned, for demonstrations).
The code becomes part of public paths, so nothing else may pass.
"""

import re

from registry.errors import Malformed

_REGION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")


def check_region(region: str) -> None:
    """Raises Malformed unless `region` is spelled like an ISO 3166 code."""
    if not _REGION.fullmatch(region):
        raise Malformed(f"region {region[:20]!r} is not an ISO 3166 code in capitals")
