"""Time stamps of the audit trail (RFC 3161): an authority outside the hospital signs that an entry existed at a moment.

A stamp is of the digest of one entry, and by the chain of all before it: whoever rewrites them, with the head and its
key, cannot make it anew. Stamps are files in the settings' folder, to be copied elsewhere: one that is deleted shows
nothing. They are those of `openssl ts`: `openssl ts -verify -token_in -in audit-stamps/12.tst -digest … -CAfile …`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from app.audit.tables import AuditEntry

_FOLDER: Final = "audit-stamps"
_SUFFIX: Final = ".tst"
_TIMEOUT_S: Final = 30


@dataclass(frozen=True)
class Stamp:
    """A time stamp: number of the entry, its digest (hexadecimal) as the authority signed it, and when."""

    number: int
    digest: str
    moment: datetime


class TimeStamps:
    """The stamps of one trail.

    Args:
        home: folder of the settings.
        certificate: of the authority, or of who signed that one (PEM); None where signatures are not checked.
    """

    def __init__(self, home: Path, certificate: Path | None = None) -> None:
        self._folder = home / _FOLDER
        self._certificate = certificate

    def request(self, entry: AuditEntry, authority: str) -> Stamp:
        """Have an entry stamped.

        Args:
            entry: the latest.
            authority: its address, http:// or https://.

        Raises:
            SettingsError: the authority does not answer, refuses, or answers with something else.
        """
        _require_library()
        from asn1crypto import tsp  # noqa: PLC0415  of the extra "sign"
        from pyhanko.sign.timestamps import HTTPTimeStamper, TimestampRequestError  # noqa: PLC0415  as above

        stamper = HTTPTimeStamper(authority, timeout=_TIMEOUT_S)  # type: ignore[no-untyped-call]  # typed in part
        try:
            token = asyncio.run(stamper.async_timestamp(bytes.fromhex(entry.digest), "sha256"))
        except (TimestampRequestError, ValueError) as error:
            raise _no_stamp(type(error).__name__) from error
        path = self._folder / f"{entry.number}{_SUFFIX}"
        stamp = _read(entry.number, token["content"])
        if not isinstance(token["content"]["encap_content_info"]["content"].parsed, tsp.TSTInfo) or (
            stamp.digest != entry.digest
        ):
            raise _no_stamp("a stamp of something else than was asked for")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(token.dump())
        return stamp

    def read(self) -> dict[int, Stamp] | Message:
        """The stamps by number of the entry, or what is wrong with one.

        Raises:
            SettingsError: there are stamps, and what checks them is not installed.
        """
        found, paths = {}, sorted(self._folder.glob(f"*{_SUFFIX}"))
        if paths:
            _require_library()
        for path in paths:
            number = int(path.stem) if path.stem.isdecimal() else 0
            stamp = self._checked(number, path.read_bytes())
            if stamp is None:
                return Message("The time stamp {name} was not made by the authority.", name=path.name)
            found[number] = stamp
        return found

    def _checked(self, number: int, content: bytes) -> Stamp | None:
        from asn1crypto import cms  # noqa: PLC0415  as above
        from pyhanko.sign.validation.errors import SignatureValidationError  # noqa: PLC0415  as above
        from pyhanko_certvalidator.errors import PathError  # noqa: PLC0415  as above

        try:
            signed = cms.ContentInfo.load(content)["content"]
            stamp = _read(number, signed)
            valid = asyncio.run(self._is_valid(signed, stamp))
        except (ValueError, TypeError, KeyError, AttributeError, SignatureValidationError, PathError):
            return None
        return stamp if valid else None

    async def _is_valid(self, signed: object, stamp: Stamp) -> bool:
        """Whether the signature is intact, and where a certificate is given, that it was made under it at the time."""
        from pyhanko.keys import load_cert_from_pemder  # noqa: PLC0415  as above
        from pyhanko.sign.validation.generic_cms import validate_tst_signed_data  # noqa: PLC0415  as above
        from pyhanko_certvalidator import ValidationContext  # noqa: PLC0415  as above

        context = None
        if self._certificate is not None:
            path = str(self._certificate.expanduser())
            roots = [load_cert_from_pemder(path)]  # type: ignore[no-untyped-call]  # typed in part
            context = ValidationContext(trust_roots=roots, allow_fetching=False, moment=stamp.moment)
        found = await validate_tst_signed_data(signed, context, _Imprint.fromhex(stamp.digest))
        return bool(found["intact"] and found["valid"] and (context is None or found["trust_problem_indic"] is None))


class _Imprint(bytes):
    """A SHA-256 as pyHanko takes it: bytes up to 0.20, of the training lock; a function in 0.38, the application's."""

    __slots__ = ()

    def __call__(self, algorithm: str) -> bytes:
        return bytes(self) if algorithm == "sha256" else b""


def _read(number: int, signed: object) -> Stamp:
    """The stamp of a signed token (CMS `SignedData`)."""
    info = signed["encap_content_info"]["content"].parsed  # type: ignore[index]  # asn1crypto publishes no types
    return Stamp(number, info["message_imprint"]["hashed_message"].native.hex(), info["gen_time"].native)


def _no_stamp(why: str) -> SettingsError:
    return SettingsError(
        found=Message("The authority gave no time stamp ({why}).", why=why),
        needed=Message("An authority that answers requests of RFC 3161 at the address audit_authority."),
        advice=Message("Check the address and the network, then run the command again."),
    )


def _require_library() -> None:
    if find_spec("pyhanko") is None:
        raise SettingsError(
            found=Message("The library for time stamps, pyHanko, is not installed."),
            needed=Message("pyHanko, to ask for time stamps and to check them."),
            advice=Message("Install it with: pip install 'fedpet[sign]'."),
        )
