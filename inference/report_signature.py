"""Signature of an evaluation report: who evaluated the model, and that nothing of the report was changed since.

`"signature"` in the report holds the certificate (PEM) of the one who evaluated and the signature of all other entries,
as JSON with sorted keys and without blanks. In a federation it is the coordinating centre, with the certificate by
which the hospitals' nodes know it; on data of this machine it is this installation, with a key of its own.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ssl import PEM_cert_to_DER_cert
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

SIGNATURE: Final = "signature"
_OWN: Final = "evaluator"  # beginning of the names of this installation's key and certificate
_DAYS: Final = 36500
_PADDING: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
_ECDSA: Final = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True)
class Signer:
    """A certificate and its private key, both PEM."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the certificate."""
        return fingerprint(self.certificate.read_text(encoding="ascii"))

    def sign(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The report with its signature.

        Raises:
            SettingsError: the key is neither RSA nor of an elliptic curve.
        """
        key = serialization.load_pem_private_key(self.key.read_bytes(), password=None)
        if isinstance(key, rsa.RSAPrivateKey):
            value = key.sign(_signed(report), _PADDING, hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            value = key.sign(_signed(report), _ECDSA)
        else:
            raise SettingsError(
                found=Message("The key {name} is of another kind.", name=self.key.name),
                needed=Message("A key of RSA or of an elliptic curve."),
                advice=Message("Give the coordinating centre such a certificate and its key."),
            )
        signature = {
            "certificate": self.certificate.read_text(encoding="ascii"),
            "value": base64.b64encode(value).decode(),
        }
        return {**report, SIGNATURE: signature}


def own_signer(folder: Path) -> Signer:
    """That of this installation, whose files are in a folder; made at the first use."""
    signer = Signer(folder / f"{_OWN}.pem", folder / f"{_OWN}.key")
    if not signer.certificate.is_file():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fedpet evaluation")])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=_DAYS))
            .sign(key, hashes.SHA256())
        )
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        with os.fdopen(os.open(signer.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key.private_bytes(*plain))
        signer.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return signer


def signer_of(report: Mapping[str, Any]) -> str:
    """Fingerprint of the certificate that signed the report; "" where it has no signature that fits."""
    signature = report.get(SIGNATURE)
    if not isinstance(signature, dict):
        return ""
    try:
        certificate = str(signature["certificate"])
        value = base64.b64decode(str(signature["value"]), validate=True)
        _verify(x509.load_pem_x509_certificate(certificate.encode()).public_key(), value, _signed(report))
        return fingerprint(certificate)
    except (KeyError, ValueError, InvalidSignature):
        return ""


def fingerprint(certificate: str) -> str:
    """SHA-256 (hexadecimal) of a certificate (PEM), as nodes compare it."""
    return sha256(PEM_cert_to_DER_cert(certificate)).hexdigest()


def _verify(key: CertificatePublicKeyTypes, value: bytes, signed: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(value, signed, _PADDING, hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(value, signed, _ECDSA)
    else:
        raise InvalidSignature


def _signed(report: Mapping[str, Any]) -> bytes:
    plain = {name: value for name, value in report.items() if name != SIGNATURE}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
