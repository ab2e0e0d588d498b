"""Region codes become public paths."""

import pytest

from registry.errors import Malformed
from registry.protocol.regions import check_region


@pytest.mark.parametrize("region", ["XA", "CN", "CN-HB", "GB-ENG", "JP-13", "PT-A"])
def test_iso_3166(region: str) -> None:
    check_region(region)


@pytest.mark.parametrize(
    "region", ["", "X", "XAA", "xa", "XA-", "XA-ABCD", "XA-hb", "XA\n", "../X", "XA/B", "XA.B", "ＸＡ", "1A"]
)
def test_nothing_else(region: str) -> None:
    with pytest.raises(Malformed):
        check_region(region)
