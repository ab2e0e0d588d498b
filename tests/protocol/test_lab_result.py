"""A laboratory's message: what leads to a code, what does not and why, and that nothing else is ever read."""

from collections.abc import Mapping
from copy import deepcopy
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Refusal, RefusalCode
from registry.protocol.lab_result import FINAL, LOINC, SNOMED, LabResult, read_lab_result

JUNE_14 = date(2026, 6, 14)
POSITIVE = {"coding": [{"system": SNOMED, "code": "10828004", "display": "Positive"}]}
NEGATIVE = {"coding": [{"system": SNOMED, "code": "260385009"}]}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "pcr",
    "status": "final",
    "code": {"coding": [{"system": LOINC, "code": "94500-6"}]},
    "subject": {"reference": "Patient/1", "display": "Wang Fang"},
    "effectiveDateTime": "2026-06-14T23:30:00+08:00",
    "valueCodeableConcept": POSITIVE,
}
REPORT = {
    "resourceType": "DiagnosticReport",
    "status": "final",
    "contained": [{"resourceType": "Patient", "id": "p", "name": [{"family": "Wang"}]}, OBSERVATION],
    "result": [{"reference": "#pcr"}],
}
BUNDLE = {
    "resourceType": "Bundle",
    "type": "message",
    "entry": [
        {"resource": {"resourceType": "MessageHeader"}},
        {"resource": {"resourceType": "Patient", "name": [{"family": "Wang"}]}},
        {"fullUrl": "urn:uuid:1", "resource": OBSERVATION},
        {"resource": {**REPORT, "contained": [], "result": [{"reference": "urn:uuid:1"}]}},
    ],
}
FORMS = [OBSERVATION, REPORT, BUNDLE]


def changed(message: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """The message with its Observation changed; a member that is None goes."""
    text = deepcopy(dict(message))

    def change(value: Any) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                change(inner)
            if value.get("resourceType") == "Observation":
                value.update(members)
                for name in [name for name, new in members.items() if new is None]:
                    del value[name]
        elif isinstance(value, list):
            for inner in value:
                change(inner)

    change(text)
    return text


def refused(message: Mapping[str, Any]) -> RefusalCode:
    with pytest.raises(Refusal) as met:
        read_lab_result(message)
    return met.value.code


@pytest.mark.parametrize("message", FORMS)
@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_positive_result_in_each_form(message: dict[str, Any], status: str) -> None:
    assert read_lab_result(changed(message, status=status)) == LabResult(True, JUNE_14)


@pytest.mark.parametrize(
    ("system", "code", "is_positive"),
    [
        (SNOMED, "10828004", True),
        (SNOMED, "260373001", True),
        (LOINC, "LA6576-8", True),
        (LOINC, "LA11882-0", True),
        (SNOMED, "260385009", False),
        (SNOMED, "260415000", False),
        (LOINC, "LA6577-6", False),
    ],
)
@pytest.mark.parametrize("message", FORMS)
def test_results_by_their_codes(message: dict[str, Any], system: str, code: str, is_positive: bool) -> None:
    value = {"coding": [{"system": "urn:local", "code": "x"}, {"system": system, "code": code}]}
    assert read_lab_result(changed(message, valueCodeableConcept=value)).is_positive is is_positive


@pytest.mark.parametrize("message", FORMS)
@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"text": "positive"},
        {"coding": [{"system": "urn:local", "code": "10828004"}]},
        {"coding": [{"code": "10828004"}]},
        {"coding": [{"system": SNOMED, "code": "419984006"}]},  # inconclusive
        {"coding": [*POSITIVE["coding"], *NEGATIVE["coding"]]},
    ],
)
def test_what_is_neither_or_both_leads_to_nothing(message: dict[str, Any], value: Any) -> None:
    assert refused(changed(message, valueCodeableConcept=value)) is RefusalCode.INVALID_TEST_TYPE


@pytest.mark.parametrize("message", FORMS)
@pytest.mark.parametrize("status", ["preliminary", "cancelled", "entered-in-error", "unknown", None, 7, []])
def test_what_is_not_final_leads_to_nothing(message: dict[str, Any], status: Any) -> None:
    assert refused(changed(message, status=status)) is RefusalCode.UNSUPPORTED_TEST_TYPE


@pytest.mark.parametrize("status", ["preliminary", "partial", "cancelled", "entered-in-error"])
def test_nor_does_a_report_that_is_not(status: str) -> None:
    assert refused({**REPORT, "status": status}) is RefusalCode.UNSUPPORTED_TEST_TYPE


@pytest.mark.parametrize("message", FORMS)
def test_another_test_leads_to_nothing_unless_it_counts_here(message: dict[str, Any]) -> None:
    other = changed(message, code={"coding": [{"system": LOINC, "code": "80382-5"}]})  # influenza
    assert refused(other) is RefusalCode.UNSUPPORTED_TEST_TYPE
    assert read_lab_result(other, frozenset({"80382-5"})).is_positive


@pytest.mark.parametrize("message", FORMS)
@pytest.mark.parametrize(
    ("times", "day"),
    [
        ({"effectiveDateTime": "2026-06-14"}, JUNE_14),
        ({"effectiveDateTime": "2026-06-14T00:10:00.123Z"}, JUNE_14),
        ({"effectiveDateTime": "2026-06-14T23:59:60-12:00"}, JUNE_14),
        ({"effectiveDateTime": None, "effectiveInstant": "2026-06-14T12:00:00Z"}, JUNE_14),
        ({"effectiveDateTime": None, "issued": "2026-06-14T12:00:00+14:00"}, JUNE_14),
        ({"effectiveDateTime": "2026-06-13", "issued": "2026-06-14T12:00:00Z"}, date(2026, 6, 13)),
    ],
)
def test_the_day_is_that_of_the_laboratorys_calendar(
    message: dict[str, Any], times: dict[str, Any], day: date
) -> None:
    present = {name: value for name, value in times.items() if value is not None}
    one = changed(changed(message, effectiveDateTime=None), **present)
    assert read_lab_result(one).test_date == day


@pytest.mark.parametrize("message", FORMS)
@pytest.mark.parametrize(
    "time",
    [
        "2026",
        "2026-06",
        "2026-06-31",
        "2026-06-14T12:00:00",
        "2026-06-14T12Z",
        "２０２６-06-14",
        "14.6.2026",
        "",
        7,
        [],
    ],
)
def test_a_day_that_is_none_or_not_whole_is_refused(message: dict[str, Any], time: Any) -> None:
    assert refused(changed(message, effectiveDateTime=time)) is RefusalCode.INVALID_DATE


def test_a_report_lends_its_day_and_without_any_it_is_missing() -> None:
    bare = changed(REPORT, effectiveDateTime=None)
    assert refused(bare) is RefusalCode.MISSING_DATE
    assert read_lab_result({**bare, "issued": "2026-06-14T12:00:00Z"}).test_date == JUNE_14


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"resourceType": "Patient"},
        {**REPORT, "result": []},
        {**REPORT, "result": [{"reference": "#other"}]},
        {**REPORT, "result": [{"reference": "#pcr"}, {"reference": "Observation/elsewhere"}]},
        {**BUNDLE, "entry": [*BUNDLE["entry"], {"resource": REPORT}]},
        {**BUNDLE, "entry": [{"resource": OBSERVATION}] * 2},
        {**BUNDLE, "type": "history"},
        {**BUNDLE, "type": None},
    ],
)
def test_what_is_not_one_result_is_refused(message: dict[str, Any]) -> None:
    assert refused(message) is RefusalCode.UNPARSABLE_REQUEST


def test_of_several_observations_those_of_other_tests_do_not_count_and_the_rest_must_agree() -> None:
    other = {**OBSERVATION, "id": "ct", "code": {}, "valueCodeableConcept": None, "status": "preliminary"}
    antigen = {**OBSERVATION, "id": "ag", "code": {"coding": [{"system": LOINC, "code": "94558-4"}]}}
    results = [{"reference": f"#{name}"} for name in ("pcr", "ct", "ag")]
    report = {**REPORT, "result": results}
    together = {**report, "contained": [OBSERVATION, other, antigen]}
    assert read_lab_result(together).is_positive
    against = {**report, "contained": [OBSERVATION, other, {**antigen, "valueCodeableConcept": NEGATIVE}]}
    assert refused(against) is RefusalCode.INVALID_TEST_TYPE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceType", "status", "code", "coding", "entry", "resource", "result", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
MEMBERS = sorted({*OBSERVATION, *REPORT, *BUNDLE})


def outcome(message: Mapping[str, Any]) -> LabResult | Refusal:
    try:
        return read_lab_result(message)
    except Refusal as refusal:
        return refusal


@given(st.sampled_from(FORMS), st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=4))
def test_whatever_a_member_holds_it_is_a_result_or_a_refusal(
    message: dict[str, Any], members: dict[str, Any]
) -> None:
    known = {
        RefusalCode.UNPARSABLE_REQUEST,
        RefusalCode.UNSUPPORTED_TEST_TYPE,
        RefusalCode.INVALID_TEST_TYPE,
        RefusalCode.MISSING_DATE,
        RefusalCode.INVALID_DATE,
    }
    for one in ({**message, **members}, changed(message, **members)):
        met = outcome(one)
        assert isinstance(met, LabResult) or met.code in known


class Untouched(dict[str, Any]):
    """What breaks when somebody looks into it."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"looked at: {name}")


UNREAD = ["subject", "identifier", "performer", "text", "note", "encounter", "specimen", "conclusion"]


@pytest.mark.parametrize("message", FORMS)
def test_nothing_about_the_person_is_looked_at(message: dict[str, Any]) -> None:
    planted = changed(message, **{name: Untouched() for name in UNREAD})
    planted |= {name: Untouched() for name in UNREAD}
    assert read_lab_result(planted).is_positive


@given(st.sampled_from(FORMS), st.sampled_from(MEMBERS), st.sampled_from(["Wang Fang", "13812345678"]))
def test_no_refusal_repeats_what_stood_there(message: dict[str, Any], member: str, secret: str) -> None:
    for one in ({**message, member: secret}, changed(message, **{member: secret})):
        assert secret not in str(outcome(one))
