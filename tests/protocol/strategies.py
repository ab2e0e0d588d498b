"""Any key, any file: what the property tests of the protocol draw from."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from registry.protocol.export_file import ExportFile, SignatureInfo
from registry.protocol.keys import ReportType, TemporaryExposureKey

key_data = st.binary(min_size=16, max_size=16)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=12)


def exposure_keys() -> SearchStrategy[TemporaryExposureKey]:
    """Any key that the format admits, its bounds included."""
    return st.builds(
        TemporaryExposureKey,
        key_data=key_data,
        rolling_start_interval_number=st.integers(0, 2**31 - 1),
        rolling_period=st.integers(1, 144),
        transmission_risk_level=st.integers(0, 8),
        report_type=st.sampled_from(ReportType),
        days_since_onset_of_symptoms=st.none() | st.integers(-14, 14),
    )


def export_files() -> SearchStrategy[ExportFile]:
    """Any export file, whether or not phones could use it."""
    keys = st.lists(exposure_keys(), max_size=8).map(tuple)
    return st.builds(
        ExportFile,
        start_timestamp=st.integers(0, 2**40),
        end_timestamp=st.integers(0, 2**40),
        region=st.sampled_from(["XA", "CN", "CN-HB", "GB-ENG"]),
        keys=keys,
        revised_keys=keys,
        signature_infos=st.lists(st.builds(SignatureInfo, names, names), max_size=3).map(tuple),
    )


def few_kinds_of_keys() -> SearchStrategy[TemporaryExposureKey]:
    """Keys of which many share their metadata, or their first bytes: as in a file of a real day."""
    return st.builds(
        TemporaryExposureKey,
        key_data=st.builds(
            bytes.__add__, st.sampled_from([bytes(12), b"\xff" * 12]), st.binary(min_size=4, max_size=4)
        )
        | key_data,
        rolling_start_interval_number=st.sampled_from([0, 144, 2**31 - 1]),
        rolling_period=st.sampled_from([1, 127, 128, 144]),
        transmission_risk_level=st.sampled_from([0, 8]),
        report_type=st.sampled_from([ReportType.CONFIRMED_TEST, ReportType.REVOKED]),
        days_since_onset_of_symptoms=st.sampled_from([None, -14, 0, 14]),
    )


def distinct_keys(max_size: int = 60) -> SearchStrategy[list[TemporaryExposureKey]]:
    """Keys of any kind or of few, none of them twice."""
    return st.lists(
        exposure_keys() | few_kinds_of_keys(), max_size=max_size, unique_by=lambda key: key.key_data
    )
