"""The little that is read of a laboratory's FHIR R4 message: whether a test was positive, and its day.

A `DiagnosticReport` with its Observations contained; a `Bundle` of one report and its Observations, or of one
Observation; or an `Observation` alone. Read are resource types, statuses, references from a report to its
Observations, the codes of tests and results, and the day. Nothing else is looked at, whatever it holds: no
subject, identifier, name, performer or text; and no message of an error repeats what stood there.

The codes are those of HL7 (http://hl7.org/fhir/R4), LOINC and SNOMED CT.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from registry.errors import Refusal, RefusalCode

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
USUAL_TEST_CODES = frozenset({"94500-6", "94558-4", "94309-2", "94759-8"})
"""LOINC, SARS-CoV-2: RNA in a respiratory specimen, antigen in one by rapid test, RNA in any specimen, RNA in
the nasopharynx."""
POSITIVE = frozenset({(SNOMED, "10828004"), (SNOMED, "260373001"), (LOINC, "LA6576-8"), (LOINC, "LA11882-0")})
"""Positive, detected; in either system."""
NEGATIVE = frozenset(
    {(SNOMED, "260385009"), (SNOMED, "260415000"), (LOINC, "LA6577-6"), (LOINC, "LA11883-8")}
)
"""Negative, not detected."""
FINAL = frozenset({"final", "amended", "corrected"})

_TIME = r"T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-](0\d|1[0-4]):[0-5]\d)"
_DAY_OR_TIME = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})({_TIME})?", re.ASCII)
_TIMES = ("effectiveDateTime", "effectiveInstant", "issued")

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LabResult:
    """What was found, and on which day: the day as the laboratory's own calendar had it."""

    is_positive: bool
    test_date: date


def read_lab_result(message: Resource, test_codes: frozenset[str] = USUAL_TEST_CODES) -> LabResult:
    """The result that the message is about.

    Refuses with `unparsable_request` what is none of the forms above; with `unsupported_test_type` what is
    of no test in `test_codes` (LOINC) or not final, amended or corrected; with `invalid_test_type` what is
    neither positive nor negative by its codes, or both; with `missing_date`, and with `invalid_date` for a
    day that is none or not whole.
    """
    report, observations = _report_and_observations(message)
    if report is not None and not _is_final(report):
        raise _not_final()
    relevant = [each for each in observations if _has_test_code(each, test_codes)]
    if not relevant:
        raise Refusal(
            RefusalCode.UNSUPPORTED_TEST_TYPE, "no Observation has the LOINC code of a test that counts here"
        )
    if report is None and len(relevant) > 1:
        raise _unreadable("send one result in a message, or a DiagnosticReport that names its Observations")
    if not all(_is_final(each) for each in relevant):
        raise _not_final()
    findings = {_finding(each) for each in relevant}
    if len(findings) > 1:
        raise Refusal(RefusalCode.INVALID_TEST_TYPE, "the Observations contradict each other")
    return LabResult(findings.pop(), _day_of(relevant, report))


def _report_and_observations(message: Resource) -> tuple[Resource | None, Sequence[Resource]]:
    kind = message.get("resourceType")
    if kind == "Observation":
        return None, [message]
    if kind == "DiagnosticReport":
        contained = {f"#{each.get('id')}": each for each in _observations(_objects(message, "contained"))}
        return message, _named_by(message, contained)
    if kind == "Bundle":
        return _from_bundle(message)
    raise _unreadable("the resourceType must be DiagnosticReport, Observation or Bundle")


def _from_bundle(bundle: Resource) -> tuple[Resource | None, Sequence[Resource]]:
    if bundle.get("type") not in ("message", "transaction", "collection"):
        raise _unreadable("the Bundle's type must be message, transaction or collection")
    entries = _objects(bundle, "entry")
    resources = [(entry.get("fullUrl"), entry.get("resource")) for entry in entries]
    there = [(address, each) for address, each in resources if isinstance(each, Mapping)]
    reports = [each for _address, each in there if each.get("resourceType") == "DiagnosticReport"]
    observations = [(address, each) for address, each in there if each.get("resourceType") == "Observation"]
    if len(reports) > 1:
        raise _unreadable("send each DiagnosticReport in a message of its own")
    if not reports:
        return None, [each for _address, each in observations]
    report = reports[0]
    by_reference = {f"Observation/{each.get('id')}": each for _address, each in observations}
    by_reference |= {address: each for address, each in observations if isinstance(address, str)}
    by_reference |= {f"#{each.get('id')}": each for each in _observations(_objects(report, "contained"))}
    return report, _named_by(report, by_reference)


def _named_by(report: Resource, by_reference: Mapping[str, Resource]) -> Sequence[Resource]:
    references = [each.get("reference") for each in _objects(report, "result")]
    found = [by_reference.get(name) if isinstance(name, str) else None for name in references]
    named = [each for each in found if each is not None]
    if not named or len(named) < len(found):
        raise _unreadable("every 'result' of the DiagnosticReport must be an Observation in the message")
    return named


def _observations(resources: Sequence[Resource]) -> Sequence[Resource]:
    return [each for each in resources if each.get("resourceType") == "Observation"]


def _is_final(resource: Resource) -> bool:
    status = resource.get("status")
    return isinstance(status, str) and status in FINAL


def _has_test_code(observation: Resource, test_codes: frozenset[str]) -> bool:
    return any(system == LOINC and code in test_codes for system, code in _codings(observation.get("code")))


def _finding(observation: Resource) -> bool:
    """Whether it is positive. Refuses what is neither, or both."""
    codings = _codings(observation.get("valueCodeableConcept"))
    is_positive, is_negative = not POSITIVE.isdisjoint(codings), not NEGATIVE.isdisjoint(codings)
    if is_positive == is_negative:
        raise Refusal(
            RefusalCode.INVALID_TEST_TYPE,
            "'valueCodeableConcept' must hold one result: positive or detected, negative or not detected",
        )
    return is_positive


def _day_of(observations: Sequence[Resource], report: Resource | None) -> date:
    """The earliest day of the Observations; of their report, where they name none."""
    days = [day for each in observations if (day := _day(each)) is not None]
    if not days and report is not None and (day := _day(report)) is not None:
        days = [day]
    if not days:
        raise Refusal(RefusalCode.MISSING_DATE, "give 'effectiveDateTime', 'effectiveInstant' or 'issued'")
    return min(days)


def _day(resource: Resource) -> date | None:
    text = next((resource[name] for name in _TIMES if resource.get(name) is not None), None)
    if text is None:
        return None
    matched = _DAY_OR_TIME.fullmatch(text) if isinstance(text, str) else None
    try:
        if matched is not None:
            # The day where the test was made: a time of another zone may be of another day.
            return date.fromisoformat(matched[1])
    except ValueError:
        pass
    raise Refusal(RefusalCode.INVALID_DATE, "a time must be a whole day, or a moment with its time zone")


def _codings(concept: object) -> frozenset[tuple[str, str]]:
    if not isinstance(concept, Mapping):
        return frozenset()
    pairs = [(each.get("system"), each.get("code")) for each in _objects(concept, "coding")]
    return frozenset(
        (system, code) for system, code in pairs if isinstance(system, str) and isinstance(code, str)
    )


def _objects(resource: Resource, name: str) -> Sequence[Resource]:
    """The objects in a list of that name; none where there is no list."""
    found = resource.get(name)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _not_final() -> Refusal:
    return Refusal(
        RefusalCode.UNSUPPORTED_TEST_TYPE, "only what is final, amended or corrected leads to a code"
    )


def _unreadable(advice: str) -> Refusal:
    return Refusal(RefusalCode.UNPARSABLE_REQUEST, advice)
