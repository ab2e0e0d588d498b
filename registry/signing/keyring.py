"""All keys of a registry in files that only its owner can read. The embedded default.

The folder is the settings' `keys_dir`: `export/<id>-<version>.pem`, `log/<year>.pem`,
`log/<year>-mldsa44.pem`, `trust/root.pem`, `witness/ed25519.pem` and `witness/mldsa44.pem`.
"""

from collections.abc import Mapping
from pathlib import Path

from registry.signing import NoteSigner, Signer
from registry.signing.file_key import FileKey, create_key_file
from registry.signing.note_key import NoteAlgorithm, NoteKey, create_note_key_file

LOG_KIND, WITNESS_KIND, ML_DSA_KIND = 1, 4, 6
"""Signature types of C2SP signed-note: a log's Ed25519, a witness's Ed25519, ML-DSA-44 of either."""


class FilesKeyRing:
    """All keys in files of mode 0600. Is a `KeyRing`; the embedded default."""

    def __init__(self, keys_dir: Path) -> None:
        self._folder = keys_dir

    def export_signers(self) -> list[Signer]:
        """Every key of the folder `export`, read anew."""
        folder = self._folder / "export"
        found = [path.stem.rsplit("-", 1) for path in sorted(folder.glob("*-*.pem"))]
        return [FileKey.load(folder / f"{name}-{version}.pem", name, version) for name, version in found]

    def create_export_key(self, key_id: str, key_version: str) -> Signer:
        """The key's file, made if it is not there."""
        path = self._folder / "export" / f"{key_id}-{key_version}.pem"
        if not path.exists():
            create_key_file(path)
        return FileKey.load(path, key_id, key_version)

    def has_log_keys(self, year: int) -> bool:
        """Whether both files are there."""
        return self.log_path(year).exists() and self._ml_dsa_path(year).exists()

    def create_log_keys(self, year: int) -> None:
        """Both files; a crash between them leaves one, and the next call makes the other."""
        self.create_ml_dsa_log_key(year)
        _ensure(self.log_path(year), NoteAlgorithm.ED25519)

    def create_ml_dsa_log_key(self, year: int) -> None:
        """The half of a year's log keys that no token holds yet."""
        _ensure(self._ml_dsa_path(year), NoteAlgorithm.ML_DSA_44)

    def log_signers(self, year: int, origin: str) -> list[NoteSigner]:
        """Ed25519 (1), ML-DSA-44 (6), named `<origin>/<year>`."""
        name = f"{origin}/{year}"
        return [NoteKey.load(self.log_path(year), name, LOG_KIND), self.ml_dsa_log_signer(year, origin)]

    def ml_dsa_log_signer(self, year: int, origin: str) -> NoteSigner:
        """The half of a year's log keys that no token holds yet."""
        return NoteKey.load(self._ml_dsa_path(year), f"{origin}/{year}", ML_DSA_KIND)

    def create_trust_key(self) -> None:
        """The file `trust/root.pem`."""
        _ensure(self._folder / "trust" / "root.pem", NoteAlgorithm.ED25519)

    def trust_signer(self, origin: str) -> NoteSigner:
        """Ed25519 (1), named `<origin>/trust`."""
        return NoteKey.load(self._folder / "trust" / "root.pem", f"{origin}/trust", LOG_KIND)

    def create_witness_keys(self) -> None:
        """Both files; a crash between them leaves one, and the next call makes the other."""
        _ensure(self._folder / "witness" / "mldsa44.pem", NoteAlgorithm.ML_DSA_44)
        _ensure(self._folder / "witness" / "ed25519.pem", NoteAlgorithm.ED25519)

    def witness_signers(self, name: str) -> list[NoteSigner]:
        """Ed25519 (4), ML-DSA-44 (6), both called `name`."""
        folder = self._folder / "witness"
        return [
            NoteKey.load(folder / "ed25519.pem", name, WITNESS_KIND),
            NoteKey.load(folder / "mldsa44.pem", name, ML_DSA_KIND),
        ]

    def places(self) -> Mapping[str, str]:
        """Label to `file <path>`."""
        labels = {f"export-{path.stem}": path for path in sorted((self._folder / "export").glob("*-*.pem"))}
        labels |= {f"log-{path.stem}": path for path in sorted((self._folder / "log").glob("*.pem"))}
        for label, path in (
            ("trust", self._folder / "trust" / "root.pem"),
            ("witness", self._folder / "witness" / "ed25519.pem"),
            ("witness-mldsa44", self._folder / "witness" / "mldsa44.pem"),
        ):
            if path.exists():
                labels[label] = path
        return {label: f"file {path}" for label, path in labels.items()}

    def log_path(self, year: int) -> Path:
        """Where a year's Ed25519 key lies, or would."""
        return self._folder / "log" / f"{year}.pem"

    def _ml_dsa_path(self, year: int) -> Path:
        return self._folder / "log" / f"{year}-mldsa44.pem"


def _ensure(path: Path, algorithm: NoteAlgorithm) -> None:
    if not path.exists():
        create_note_key_file(path, algorithm)
