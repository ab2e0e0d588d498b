"""The population model: of which people decoy users are made up, every number of it published.

Weights are whole parts of 65,536 and every draw is a comparison of whole numbers, so that a model and a seed
mean the same users on every machine, for ever. It describes what our server stores of an upload, not what
people are. A model must never be made from a single window's uploads: then it would be those people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

from registry.errors import Malformed
from registry.protocol.encoding import JsonObject, decode_json_object
from registry.protocol.keys import MAX_TRANSMISSION_RISK_LEVEL, ReportType

WHOLE = 65_536
"""The weights of a distribution add up to this."""

MAX_DAILY_KEYS = 14
MAX_ONSET_DAYS_BEFORE_UPLOAD = 28
MAX_REVISION_DAYS = 14
MAX_EXTRA_USERS = 4_096
SURE_ONSET_DAYS = 14
"""An onset so many days before the upload, or fewer, leaves every key in the format's bounds."""

_VERSION = 1


class NewestKey(IntEnum):
    """What an upload's newest key is."""

    YESTERDAY = 0
    """The last whole day's: phones that withhold the key in use."""
    TODAY_CUT = 1
    """Today's, cut short at the upload: phones that begin a new key then."""
    TODAY_WHOLE = 2
    """Today's, announced as a whole day's."""


@dataclass(frozen=True)
class Distribution:
    """Whole numbers and their weights, which add up to `WHOLE`. Raises Malformed for any others."""

    weights: Mapping[int, int]

    def __post_init__(self) -> None:
        if any(weight < 0 for weight in self.weights.values()) or sum(self.weights.values()) != WHOLE:
            raise Malformed(f"weights must be whole numbers from 0 on that add up to {WHOLE}")
        ordered = {value: self.weights[value] for value in sorted(self.weights) if self.weights[value]}
        object.__setattr__(self, "weights", ordered)

    def __hash__(self) -> int:
        return hash(tuple(self.weights.items()))

    def at(self, number: int) -> int:
        """The value that `number`, from 0 to `WHOLE` - 1, stands for: values ascending, each its weight."""
        for value, weight in self.weights.items():
            if number < weight:
                return value
            number -= weight
        raise ValueError(f"a draw must be less than {WHOLE}")

    def share(self, value: int) -> float:
        """Probability of `value`."""
        return self.weights.get(value, 0) / WHOLE

    @cached_property
    def mean(self) -> float:
        """Expected value."""
        return sum(value * weight for value, weight in self.weights.items()) / WHOLE


def geometric(mean: int, most: int) -> Distribution:
    """The geometric distribution from 0 to `most`, of mean `mean` but for what is cut off beyond `most`.

    P(n + 1) = P(n) * mean / (mean + 1); what rounding leaves falls to 0. Raises Malformed unless both are
    positive.
    """
    if mean < 1 or most < 1:
        raise Malformed("a geometric distribution needs a mean and an end of 1 or more")
    parts = [mean**n * (mean + 1) ** (most - n) for n in range(most + 1)]
    weights = {n: WHOLE * part // sum(parts) for n, part in enumerate(parts)}
    weights[0] += WHOLE - sum(weights.values())
    return Distribution(weights)


_ONSETS = (383, 5772, 11250, 12493, 10937, 8400, 5939, 3966, 2540, 1576,
           954, 565, 330, 190, 108, 61, 34, 19, 10, 6, 3)  # fmt: skip
"""The gamma distribution of shape 3 and scale 1.4 days, rounded to whole days."""


def _default_report_types() -> Distribution:
    return _by_type(CONFIRMED_TEST=63_570, CONFIRMED_CLINICAL_DIAGNOSIS=1_638, SELF_REPORT=328)


def _default_risk() -> dict[ReportType, Distribution]:
    # Phones send 1 for "not assessed"; an app that sends 0 gets what the server assumes of the report type.
    assumed = {
        ReportType.CONFIRMED_TEST: 2,
        ReportType.CONFIRMED_CLINICAL_DIAGNOSIS: 4,
        ReportType.SELF_REPORT: 0,
    }
    return {kind: Distribution({1: 58_982, risk: 6_554}) for kind, risk in assumed.items()}


def _default_revisions() -> dict[ReportType, Distribution]:
    return {
        ReportType.CONFIRMED_TEST: _by_type(UNKNOWN=65_405, REVOKED=131),
        ReportType.CONFIRMED_CLINICAL_DIAGNOSIS: _by_type(
            UNKNOWN=26_214, CONFIRMED_TEST=32_768, REVOKED=6_554
        ),
        ReportType.SELF_REPORT: _by_type(UNKNOWN=42_598, CONFIRMED_TEST=19_661, REVOKED=3_277),
    }


def _by_type(**weights: int) -> Distribution:
    return Distribution({int(ReportType[name]): weight for name, weight in weights.items()})


@dataclass(frozen=True)
class PopulationModel:
    """All that decoy users are drawn from; the defaults are stated in docs/decisions/0008.

    Raises Malformed for numbers that no upload could have, so that a model read from anywhere can be drawn
    from.
    """

    daily_keys: Distribution = field(
        default_factory=lambda: Distribution({14: 55_708} | dict.fromkeys(range(1, 14), 756))
    )
    """How many keys, one a UTC day without a gap, before those too far from the onset are left out."""
    newest_key: Distribution = field(
        default_factory=lambda: Distribution(
            {NewestKey.YESTERDAY: 32_768, NewestKey.TODAY_CUT: 19_661, NewestKey.TODAY_WHOLE: 13_107}
        )
    )
    """Of `NewestKey`."""
    report_types: Distribution = field(default_factory=_default_report_types)
    """Of `ReportType`: confirmed, clinical, self-reported."""
    transmission_risk: Mapping[ReportType, Distribution] = field(default_factory=_default_risk)
    """By report type; one level for all keys of a user."""
    onset_not_given: int = 13_107
    """Weight of users whose onset nobody states: the server takes it to be 4 days before the upload."""
    onset_days_before_upload: Distribution = field(
        default_factory=lambda: Distribution(dict(enumerate(_ONSETS)))
    )
    """UTC days from the onset to the upload, where it is stated."""
    travelers: int = 1_311
    """Weight of users who say that they travelled; stored, never published."""
    revisions: Mapping[ReportType, Distribution] = field(default_factory=_default_revisions)
    """By report type: to which one a user is revised later; `UNKNOWN` stands for never."""
    revision_delay_days: Distribution = field(
        default_factory=lambda: Distribution(
            {1: 16_384, 2: 16_384, 3: 13_107, 4: 8_192, 5: 5_243, 6: 3_277, 7: 2_949}
        )
    )
    """In which spell of 24 hours after the upload, counted from 1."""
    extra_users: Distribution = field(default_factory=lambda: geometric(10, 63))
    """Decoy users beyond those that fill up to the floor, in every batch."""

    def __post_init__(self) -> None:
        for name, least, most in _BOUNDS:
            _check_values(name, getattr(self, name), least, most)
        for name in ("onset_not_given", "travelers"):
            if not 0 <= getattr(self, name) <= WHOLE:
                raise Malformed(f"population model: '{name}' must be 0 to {WHOLE}")
        _check_values("report_types", self.report_types, 1, ReportType.SELF_REPORT)
        for kind in map(ReportType, self.report_types.weights):
            if kind not in self.transmission_risk or kind not in self.revisions:
                raise Malformed(f"population model: says no risk or no revision for {kind.name}")
        for kind, risks in self.transmission_risk.items():
            _check_values(f"transmission_risk.{kind.name}", risks, 0, MAX_TRANSMISSION_RISK_LEVEL)
        for kind, targets in self.revisions.items():
            if not _TARGETS.get(kind, frozenset()) >= set(targets.weights):
                raise Malformed(f"population model: {kind.name} cannot be revised so")
        # Whoever has no key left is drawn again; an upload must have one sooner or later.
        sure = sum(w for days, w in self.onset_days_before_upload.weights.items() if days <= SURE_ONSET_DAYS)
        if sure * 2 < WHOLE:
            raise Malformed("population model: most onsets must be 14 days or less before the upload")

    def __hash__(self) -> int:
        # Of what nearly every two models differ in: mappings cannot be hashed.
        return hash((self.daily_keys, self.newest_key, self.report_types, self.extra_users))

    def to_members(self) -> dict[str, object]:
        """Members of a JSON object; weights stand under what they are weights of, 0 is left out."""
        return {
            "v": _VERSION,
            **{name: _numbered(getattr(self, name)) for name, _, _ in _BOUNDS if name != "newest_key"},
            "newest_key": {
                NewestKey(value).name: weight for value, weight in self.newest_key.weights.items()
            },
            "report_types": _named(self.report_types),
            "transmission_risk": {kind.name: _numbered(r) for kind, r in self.transmission_risk.items()},
            "onset_not_given": self.onset_not_given,
            "travelers": self.travelers,
            "revisions": {kind.name: _named(targets) for kind, targets in self.revisions.items()},
        }

    @classmethod
    def from_members(cls, document: JsonObject) -> "PopulationModel":
        """What `to_members` says; members that are not known are passed over. Raises Malformed."""
        document.integer("v", least=_VERSION, most=_VERSION)
        risk, revisions = document.child("transmission_risk"), document.child("revisions")
        return cls(
            **{name: _read_numbered(document, name) for name, _, _ in _BOUNDS if name != "newest_key"},
            newest_key=_read_named(document, "newest_key", NewestKey),
            report_types=_read_named(document, "report_types", ReportType),
            transmission_risk={_kind(name): _read_numbered(risk, name) for name in risk.as_dict()},
            onset_not_given=document.integer("onset_not_given", most=WHOLE),
            travelers=document.integer("travelers", most=WHOLE),
            revisions={_kind(name): _read_named(revisions, name, ReportType) for name in revisions.as_dict()},
        )


@dataclass(frozen=True)
class DecoyPolicy:
    """A batch with `real` users holds max(0, `floor` - real) decoy users, and a draw of the model's more."""

    floor: int = 10
    model: PopulationModel = field(default_factory=PopulationModel)


def decode_decoy_policy(trust: bytes) -> DecoyPolicy:
    """The policy that trust material states: `publication.floor` and `decoy_population`. Raises Malformed.

    Nothing else of the material is checked, nor its note: `protocol/trust` does, where it counts.
    """
    document = decode_json_object(trust, "trust material")
    floor = document.child("publication").integer("floor", most=MAX_EXTRA_USERS)
    return DecoyPolicy(floor, PopulationModel.from_members(document.child("decoy_population")))


_BOUNDS = (
    ("daily_keys", 1, MAX_DAILY_KEYS),
    ("newest_key", NewestKey.YESTERDAY, NewestKey.TODAY_WHOLE),
    ("onset_days_before_upload", 0, MAX_ONSET_DAYS_BEFORE_UPLOAD),
    ("revision_delay_days", 1, MAX_REVISION_DAYS),
    ("extra_users", 0, MAX_EXTRA_USERS),
)

_CONFIRMED = frozenset({ReportType.UNKNOWN, ReportType.REVOKED})
_TARGETS: Mapping[ReportType, frozenset[ReportType]] = {
    ReportType.CONFIRMED_TEST: _CONFIRMED,
    ReportType.CONFIRMED_CLINICAL_DIAGNOSIS: _CONFIRMED | {ReportType.CONFIRMED_TEST},
    ReportType.SELF_REPORT: _CONFIRMED | {ReportType.CONFIRMED_TEST, ReportType.CONFIRMED_CLINICAL_DIAGNOSIS},
}
"""What may follow a report type: the contract's transitions, and a recall, which may follow any."""


def _check_values(name: str, distribution: Distribution, least: int, most: int) -> None:
    if not all(least <= value <= most for value in distribution.weights):
        raise Malformed(f"population model: '{name}' must weigh numbers from {least} to {most}")


def _numbered(distribution: Distribution) -> dict[str, int]:
    return {str(value): weight for value, weight in distribution.weights.items()}


def _named(distribution: Distribution) -> dict[str, int]:
    return {ReportType(value).name: weight for value, weight in distribution.weights.items()}


def _read_numbered(document: JsonObject, name: str) -> Distribution:
    weights = document.integers(name)
    if any(not (value.isascii() and value.isdecimal()) or str(int(value)) != value for value in weights):
        raise Malformed(f"population model: '{name}' must weigh whole numbers")
    return Distribution({int(value): weight for value, weight in weights.items()})


def _read_named(document: JsonObject, name: str, names: type[NewestKey] | type[ReportType]) -> Distribution:
    try:
        return Distribution({int(names[value]): w for value, w in document.integers(name).items()})
    except KeyError as error:
        raise Malformed(f"population model: '{name}' weighs something unknown") from error


def _kind(name: str) -> ReportType:
    try:
        return ReportType[name]
    except KeyError as error:
        raise Malformed("population model: unknown report type") from error
