"""Settings whose wrong values would be met late: by a shift without codes, by people warned for nothing."""

import pytest

from registry.app import issuing_policy
from registry.config import Settings, read_settings
from registry.errors import ConfigurationError
from registry.lifecycle.forecast import forecast_quota
from registry.protocol.lab_result import USUAL_TEST_CODES


def settings(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"REGISTRY_{name}", value)
    return read_settings()


def test_a_demonstration_has_100000_codes_a_day_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    quota = issuing_policy(settings(monkeypatch)).quota
    assert (quota.official, quota.bulk) == (100_000, 100_000)
    for issued in ([], [5] * 56, [90_000] * 56):
        assert forecast_quota(issued, quota.authority) == 100_000


def test_in_production_the_first_day_has_enough_and_a_quiet_month_leaves_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quota = issuing_policy(settings(monkeypatch, PROFILE="production", REGION="CN")).quota
    assert forecast_quota([], quota.authority) == 2000
    assert forecast_quota([1] * 56, quota.authority) == 200
    assert (quota.official, quota.bulk) == (200, 5000)


@pytest.mark.parametrize(
    "values",
    [
        {"QUOTA_START": "99999"},
        {"QUOTA_LEAST": "0", "QUOTA_START": "5"},
        {"QUOTA_MOST": "1000001"},
        {"QUOTA_OFFICIAL": "0"},
        {"QUOTA_BULK": "1000001"},
        {"TEST_CODES": ""},
        {"TEST_CODES": "94500-6,covid"},
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match=r"REGISTRY_(QUOTA|TEST_CODES)"):
        settings(monkeypatch, **values)


def test_which_tests_count_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch).test_codes == USUAL_TEST_CODES
    assert settings(monkeypatch, TEST_CODES="94500-6,97097-0").test_codes == {"94500-6", "97097-0"}
