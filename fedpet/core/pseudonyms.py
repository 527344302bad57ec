"""The keyed pseudonym of a patient, the only identifier that travels.

`P-` and 12 hexadecimal digits of HMAC-SHA256 over the patient's identifier; where images say more of the person (issuer
of the identifier, name, birth date), `-` and 8 digits over identifier and person follow. Two persons under one
identifier thus share the first part and never the whole.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "P-"
# What is written where there is no identifier, as `comparable` reduces it.
_PLACEHOLDERS = frozenset(
    {
        *("", "anon", "anonym", "anonyme", "anonymise", "anonymised", "anonymized", "anonymous", "deidentified"),
        *("default", "dummy", "empty", "hidden", "id", "inconnu", "inconnue", "missing", "na", "nan", "nil", "noid"),
        *("noname", "none", "notapplicable", "notavailable", "null", "patient", "patientid", "redacted", "removed"),
        *("sansid", "sansidentifiant", "sansnom", "tbd", "test", "undefined", "unk", "unknown"),
    }
)
_FILLER = re.compile("0+|x+|9{4,}")


@dataclass(frozen=True, repr=False)
class SaltedDigests:
    """Values that may be compared with others and not be read.

    The salt is drawn at random, so that the digests of two objects have nothing in common.

    Attributes:
        salt: key of the digests.
        digests: by the name of the value; what is not stated is not there.
    """

    salt: bytes
    digests: Mapping[str, str]

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """Of values by their names; "" is not stated."""
        salt = secrets.token_bytes(16)
        return cls(salt, {name: _hmac(salt, value) for name, value in values.items() if value})

    def differing(self, values: Mapping[str, str]) -> list[str]:
        """Names of the values that both sides state, and state differently."""
        return [
            name
            for name, value in values.items()
            if value and name in self.digests and self.digests[name] != _hmac(self.salt, value)
        ]


def local_key() -> bytes:
    """The key of this machine, which its command and its application use; made at the first use.

    Raises:
        SettingsError: a setting is not valid.
    """
    from fedpet.core.settings import load_settings  # noqa: PLC0415  brings pydantic, which a given key does not need

    return load_settings().pseudonym_key()


def pseudonym(patient_id: str, key: bytes, *, person: str = "") -> str:
    """The patient's pseudonym within one centre.

    Args:
        patient_id: identifier of the patient, or of the examination where there is none (`is_placeholder`).
        key: secret of the centre.
        person: what else identifies the person, in one fixed form; "" where nothing is stated.
    """
    name = PREFIX + _hmac(key, patient_id)[:12]
    return f"{name}-{_hmac(key, _joined(patient_id, person))[:8]}" if person else name


def has_identifier(name: str, identifier_pseudonym: str) -> bool:
    """Whether the pseudonym `name` is one of the identifier whose pseudonym without a person is given."""
    return name == identifier_pseudonym or name.startswith(f"{identifier_pseudonym}-")


def is_placeholder(value: str) -> bool:
    """Whether an identifier or a name says nothing: empty, zeros, "UNKNOWN", "ANONYMOUS" and the like."""
    reduced = comparable(value)
    return reduced in _PLACEHOLDERS or bool(_FILLER.fullmatch(reduced))


def identifier_digest(patient_id: str, key: bytes) -> str:
    """A keyed digest by which two statements of an identifier are compared; "" for a placeholder.

    Case, separators and leading zeros, which a spreadsheet drops, do not count.
    """
    if is_placeholder(patient_id):
        return ""
    return _hmac(key, _joined("identifier", comparable(patient_id).lstrip("0")))[:24]


def comparable(value: str) -> str:
    """Letters and digits alone, without case and accents, so that spellings of one name or number are equal."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", value).casefold() if sign.isalnum())


def _joined(*parts: str) -> str:
    return "\0".join(parts)  # a character that no attribute of DICOM holds


def _hmac(key: bytes, text: str) -> str:
    if not isinstance(key, bytes) or not key:
        raise ArgumentError(
            found=Message("The key of the pseudonyms is empty, or not bytes."),
            needed=Message("A secret of the centre, as bytes; without one anybody could compute the pseudonyms."),
            advice=Message("Leave the key out, so that this machine's is used, or give the centre's."),
        )
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
