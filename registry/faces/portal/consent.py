"""The text that a person agrees to, by version and language, as it lies in the package.

A version that was ever in use stays, word for word: authorizations name it, and what somebody agreed to
must be there to be read. A new wording is a new version.
"""

from collections.abc import Mapping
from pathlib import Path

CONSENT_VERSION = "2026-11"
"""The version in use, for sharing keys."""
CORRECTION_VERSION = "correction-2026-12"
"""The version in use, for taking a warning back after a negative test."""
CONSENT_LANGUAGES = ("zh", "en")

_FOLDER = Path(__file__).parent / "consent"


def consent_text(version: str, language: str) -> tuple[str, ...]:
    """The paragraphs of one text. Raises FileNotFoundError for a text that there is not."""
    text = (_FOLDER / f"{version}.{language}.txt").read_text(encoding="utf-8")
    return tuple(paragraph.strip() for paragraph in text.split("\n\n"))


def texts_of(version: str) -> Mapping[str, tuple[str, ...]]:
    """The paragraphs of a version, by language."""
    return {language: consent_text(version, language) for language in CONSENT_LANGUAGES}
