"""`export.bin` by protobuf's own encoder, key by key: what the fast encoder must write byte for byte."""

from registry.protocol import export_file_pb2 as pb
from registry.protocol.export_file import HEADER, ExportFile
from registry.protocol.keys import TemporaryExposureKey


def protobuf_export(export: ExportFile) -> bytes:
    """The bytes that existing key servers would write of this."""
    message = pb.TemporaryExposureKeyExport(
        start_timestamp=export.start_timestamp,
        end_timestamp=export.end_timestamp,
        region=export.region,
        batch_num=export.batch_num,
        batch_size=export.batch_size,
        signature_infos=[
            pb.SignatureInfo(
                verification_key_version=info.key_version,
                verification_key_id=info.key_id,
                signature_algorithm=info.algorithm,
            )
            for info in export.signature_infos
        ],
        keys=[_record(key) for key in export.keys],
        revised_keys=[_record(key) for key in export.revised_keys],
    )
    return HEADER + message.SerializeToString(deterministic=True)


def _record(key: TemporaryExposureKey) -> pb.TemporaryExposureKey:
    return pb.TemporaryExposureKey(
        key_data=key.key_data,
        transmission_risk_level=key.transmission_risk_level,
        rolling_start_interval_number=key.rolling_start_interval_number or None,
        rolling_period=None if key.rolling_period == 144 else key.rolling_period,
        report_type=key.report_type or None,
        days_since_onset_of_symptoms=key.days_since_onset_of_symptoms,
    )
