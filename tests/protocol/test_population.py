"""The published model of decoy users: what may stand in it, and that it is read as it was written."""

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.encoding import JsonObject, decode_json_object, encode_json
from registry.protocol.keys import ReportType
from registry.protocol.population import (
    WHOLE,
    DecoyPolicy,
    Distribution,
    NewestKey,
    PopulationModel,
    decode_decoy_policy,
    geometric,
)


def read(members: dict[str, Any]) -> PopulationModel:
    return PopulationModel.from_members(JsonObject(members, "population model"))


def stated() -> dict[str, Any]:
    members: dict[str, Any] = json.loads(encode_json(PopulationModel().to_members()))
    return members


@st.composite
def distributions(draw: st.DrawFn, least: int, most: int) -> Distribution:
    values = draw(st.lists(st.integers(least, most), min_size=1, max_size=8, unique=True))
    cuts = sorted(draw(st.integers(0, WHOLE)) for _ in values[1:])
    weights = [high - low for low, high in zip([0, *cuts], [*cuts, WHOLE], strict=True)]
    return Distribution(dict(zip(values, weights, strict=True)))


@st.composite
def models(draw: st.DrawFn) -> PopulationModel:
    return replace(
        PopulationModel(),
        daily_keys=draw(distributions(1, 14)),
        newest_key=draw(distributions(0, 2)),
        report_types=draw(distributions(1, 3)),
        onset_not_given=draw(st.integers(0, WHOLE)),
        onset_days_before_upload=draw(distributions(0, 14)),
        travelers=draw(st.integers(0, WHOLE)),
        revision_delay_days=draw(distributions(1, 14)),
        extra_users=draw(distributions(0, 100)),
    )


@given(models())
def test_a_model_is_read_as_it_was_written(model: PopulationModel) -> None:
    content = encode_json(model.to_members())
    again = PopulationModel.from_members(decode_json_object(content, "population model"))
    assert again == model
    assert encode_json(again.to_members()) == content
    assert hash(again) == hash(model)


@given(distributions(-3, 40), st.integers(0, WHOLE - 1))
def test_every_number_stands_for_one_value_and_each_value_for_its_weight(
    distribution: Distribution, number: int
) -> None:
    assert distribution.weights[distribution.at(number)] > 0
    drawn = [distribution.at(one) for one in range(0, WHOLE, 257)]
    assert drawn == sorted(drawn)
    assert sum(map(distribution.share, distribution.weights)) == pytest.approx(1)
    with pytest.raises(ValueError, match="less than 65536"):
        distribution.at(WHOLE)


@pytest.mark.parametrize("weights", [{}, {1: WHOLE - 1}, {1: WHOLE + 1, 2: -1}, {1: WHOLE, 2: 1}])
def test_weights_that_do_not_add_up_are_refused(weights: dict[int, int]) -> None:
    with pytest.raises(Malformed, match="add up to 65536"):
        Distribution(weights)


def test_a_geometric_distribution_falls_by_one_ratio_and_has_its_mean() -> None:
    extra = geometric(10, 63)
    assert sum(extra.weights.values()) == WHOLE
    for n in range(1, 40):
        expected = Fraction(10, 11) * extra.weights[n]
        assert abs(extra.weights[n + 1] - expected) <= 2
    assert 9.5 < extra.mean < 10
    for mean, most in ((0, 5), (5, 0)):
        with pytest.raises(Malformed):
            geometric(mean, most)


def test_members_that_are_not_known_are_passed_over() -> None:
    assert read({**stated(), "hats": {"1": WHOLE}}) == PopulationModel()


RISK = stated()["transmission_risk"]

LIES: dict[str, dict[str, Any]] = {
    "another version": {"v": 2},
    "no keys": {"daily_keys": {"0": WHOLE}},
    "a fortnight and a day of keys": {"daily_keys": {"15": WHOLE}},
    "a number in another spelling": {"daily_keys": {"014": WHOLE}},
    "a number that is none": {"daily_keys": {"many": WHOLE}},
    "a newest key of tomorrow": {"newest_key": {"TOMORROW": WHOLE}},
    "a report type that nobody uploads": {"report_types": {"REVOKED": WHOLE}},
    "a report type without its risk": {"transmission_risk": {"CONFIRMED_TEST": {"1": WHOLE}}},
    "a risk beyond the format": {"transmission_risk": {**RISK, "SELF_REPORT": {"9": WHOLE}}},
    "a risk of an unknown type": {"transmission_risk": {**RISK, "GUESS": {"1": WHOLE}}},
    "a share above all": {"onset_not_given": WHOLE + 1},
    "a share below none": {"travelers": -1},
    "onsets that leave no key": {"onset_days_before_upload": {"28": WHOLE}},
    "an onset that is not believed": {"onset_days_before_upload": {"0": WHOLE - 1, "29": 1}},
    "a confirmed test that becomes a guess": {
        "revisions": {**stated()["revisions"], "CONFIRMED_TEST": {"CONFIRMED_CLINICAL_DIAGNOSIS": WHOLE}}
    },
    "a revision before the upload": {"revision_delay_days": {"0": WHOLE}},
    "fewer than no decoys": {"extra_users": {"-1": WHOLE}},
    "weights that do not add up": {"extra_users": {"1": 5}},
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_model_that_no_upload_could_follow_is_refused(lie: str) -> None:
    with pytest.raises(Malformed):
        read({**stated(), **LIES[lie]})


@pytest.mark.parametrize("member", sorted(stated()))
def test_a_model_that_leaves_something_unsaid_is_refused(member: str) -> None:
    members = stated()
    del members[member]
    with pytest.raises(Malformed):
        read(members)


def test_trust_material_states_the_policy() -> None:
    model = replace(PopulationModel(), newest_key=Distribution({NewestKey.YESTERDAY: WHOLE}))
    trust = {"publication": {"floor": 3}, "decoy_population": model.to_members()}
    assert decode_decoy_policy(encode_json(trust)) == DecoyPolicy(3, model)
    with pytest.raises(Malformed):
        decode_decoy_policy(encode_json({"publication": {"floor": 3}}))
    with pytest.raises(Malformed):
        decode_decoy_policy(encode_json({"decoy_population": model.to_members()}))


def test_the_default_is_the_stated_one() -> None:
    model, policy = PopulationModel(), DecoyPolicy()
    assert policy.floor == 10
    assert model.daily_keys.share(14) == pytest.approx(0.85, abs=1e-4)
    assert model.newest_key.share(NewestKey.TODAY_CUT) == pytest.approx(0.30, abs=1e-4)
    assert model.report_types.share(ReportType.CONFIRMED_TEST) == pytest.approx(0.97, abs=1e-4)
    assert model.onset_days_before_upload.mean == pytest.approx(3 * 1.4, abs=0.01)
    assert model.onset_not_given / WHOLE == pytest.approx(0.2, abs=1e-4)
    assert model.extra_users == geometric(10, 63)
