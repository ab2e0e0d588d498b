"""Tables, a file a subject, in two halves that share no database; and `transaction()`, the only commit.

The issuing half (officials, codes, tokens) and the collecting half (keys, batches, files) are joined only
by the verification certificate that a phone carries from one to the other. Each has its own declarative
base, so a table cannot refer to the other half even by mistake. Nothing here knows Flask or a setting.

Times: the issuing half keeps unix seconds, already rounded; the collecting half keeps ten-minute interval
numbers, and unix seconds only for windows and leases. Neither keeps the moment of a person's act.
"""

from registry.models.activity import ActivityAnchor, ActivityChain, ActivityEvent, IssuingCount
from registry.models.authority import ApiKey, Authority, CertificateKey, WrongCodeCount
from registry.models.authorization import (
    Authorization,
    ClaimsTold,
    CodeAtHand,
    VerificationCode,
    VerificationToken,
)
from registry.models.bases import CollectingBase, IssuingBase
from registry.models.batch import Batch, BatchState, ExportFile, ExportSigningKey
from registry.models.bulk import BulkJob, BulkRow
from registry.models.day_file import DayFile
from registry.models.diagnosis_key import DiagnosisKey, KeyRevision
from registry.models.feed import RegionFeed
from registry.models.health_authority import HealthAuthority, HealthAuthorityKey
from registry.models.key_day import make_days
from registry.models.lease import Lease
from registry.models.log import (
    LogEntry,
    LogKey,
    LogShard,
    RegionIndex,
    TrustFile,
    Withdrawal,
    WitnessState,
)
from registry.models.official import Official, PortalSession, SignInLink
from registry.models.openid import OpenIdIdentity
from registry.models.passkey import Passkey, SpentChallenge
from registry.models.printed_code import PrintedCode
from registry.models.quota import IssuingQuota, QuotaUse, SurgeRequest
from registry.models.recall import RecalledUpload, RecallOrder, WithdrawalLetter
from registry.models.receipt import Receipt
from registry.models.replay import CollectedAnswer, CollectingChaff, IssuedAnswer, IssuingChaff
from registry.models.self_report import SelfReportDay, SelfReportNumber
from registry.models.sessions import (
    committing_each,
    forget_journal,
    open_database,
    prepare_engine,
    transaction,
)
from registry.models.shelf import BatchShelf, Shelf, ShelfUpload
from registry.models.sms_template import SmsTemplate
from registry.models.statistics import (
    ClaimCount,
    ReleasedFigures,
    SmsErrorCount,
    UploadCount,
    UploadFigures,
)

__all__ = [
    "ActivityAnchor", "ActivityChain", "ActivityEvent", "ApiKey", "Authority", "Authorization", "Batch",
    "BatchShelf", "BatchState", "BulkJob", "BulkRow", "CertificateKey", "ClaimCount", "ClaimsTold",
    "CodeAtHand", "CollectedAnswer", "CollectingBase", "CollectingChaff", "DayFile", "DiagnosisKey",
    "ExportFile", "ExportSigningKey", "HealthAuthority", "HealthAuthorityKey", "IssuedAnswer",
    "IssuingBase", "IssuingChaff", "IssuingCount", "IssuingQuota", "KeyRevision", "Lease", "LogEntry",
    "LogKey", "LogShard", "Official", "OpenIdIdentity", "Passkey", "PortalSession", "PrintedCode",
    "QuotaUse", "RecallOrder", "RecalledUpload", "Receipt", "RegionFeed", "RegionIndex", "ReleasedFigures",
    "SelfReportDay", "SelfReportNumber", "Shelf", "ShelfUpload", "SignInLink", "SmsErrorCount",
    "SmsTemplate", "SpentChallenge", "SurgeRequest", "TrustFile", "UploadCount", "UploadFigures",
    "VerificationCode", "VerificationToken", "Withdrawal", "WithdrawalLetter", "WitnessState",
    "WrongCodeCount", "committing_each", "forget_journal", "make_days", "open_database", "prepare_engine",
    "transaction",
]  # fmt: skip
