"""Settings of the connection to a PACS: each archive, and the receiver (a part of `fedpet.core.settings`).

Documented in `docs/pacs.md`; a test keeps that page complete. Secrets are never settings: a PACS names the environment
variable or the file that holds its secret.
"""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003  pydantic reads the annotations at run time
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedpet.core.connection_settings import Encrypted, address_faults, read_secret


def _ae_title(value: str) -> str:
    """An application entity title: 1 to 16 characters of the default repertoire (PS3.5 6.2, representation AE)."""
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", value) or value != value.strip():
        message = "an AE title has 1 to 16 plain characters, no backslash and no space around"
        raise ValueError(message)
    return value


AeTitle = Annotated[str, AfterValidator(_ae_title)]
PacsName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class PacsSettings(Encrypted):
    """One PACS, by DIMSE (`host`) or by DICOMweb (`url`)."""

    host: str = Field(default="", description="DIMSE: host name or address of the PACS.")
    port: Port = Field(default=104, description="DIMSE: its port.")
    called_ae: AeTitle = Field(default="PACS", description="DIMSE: its AE title.")
    our_ae: AeTitle = Field(default="FEDPET", description="DIMSE: the AE title under which the PACS knows us.")
    retrieve: Literal["get", "move"] = Field(default="get", description="DIMSE: fetch by C-GET or by C-MOVE.")
    move_host: str = Field(default="127.0.0.1", description="C-MOVE: our address on which the images arrive.")
    move_port: Port | None = Field(default=None, description="C-MOVE: our port, as registered at the PACS.")
    tls: bool = Field(default=False, description="DIMSE: encrypt with TLS.")
    url: str = Field(default="", description="DICOMweb: address of the service, https://host/dicom-web.")
    secret_env: str = Field(default="", description="DICOMweb: environment variable with the value of `auth_header`.")
    secret_file: Path | None = Field(default=None, description="DICOMweb: file with the value of `auth_header`.")
    auth_header: str = Field(default="Authorization", description="DICOMweb: header that carries the secret.")
    timeout_s: float = Field(default=60.0, gt=0, description="Longest wait for an answer, in seconds.")
    retries: int = Field(default=3, ge=0, le=10, description="How often a failed transfer is tried again.")
    backoff_s: float = Field(
        default=2.0, ge=0, description="Wait before the first retry, in seconds; doubles each time."
    )
    ohif: str = Field(default="", description="Address of a study in OHIF, with {study_uid} in its place.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """One way to reach it; no credentials in an address; no secret over an open line."""
        faults = {
            "give either host (DIMSE) or url (DICOMweb)": bool(self.host) == bool(self.url),
            **address_faults(self.url, secret=bool(self.secret_env or self.secret_file)),
            'retrieve = "move" needs move_port': self.retrieve == "move" and self.move_port is None,
            "ohif must hold {study_uid}": bool(self.ohif) and "{study_uid}" not in self.ohif,
        }
        for message, wrong in faults.items():
            if wrong:
                raise ValueError(message)
        return self

    def secret(self) -> str | None:
        """The value of `auth_header`, or None where none is configured or it is not there."""
        return read_secret(self.secret_env, self.secret_file)


class PacsListenSettings(Encrypted):
    """The receiver of `fedpet pacs listen`. With `cert_file` it speaks TLS; with `ca_file` it asks for certificates."""

    ae: AeTitle = Field(default="FEDPET", description="Our AE title; associations for another are rejected.")
    host: str = Field(default="127.0.0.1", description="Address to listen on; only this machine by default.")
    port: Port = Field(default=11112, description="Port to listen on.")
    callers: tuple[AeTitle, ...] = Field(default=(), description="AE titles that may send; empty lets every one.")
    watch: Path | None = Field(default=None, description="Folder whose DICOM files are taken in and removed.")
    quiet_s: float = Field(
        default=60.0, gt=0, description="A study is complete after this time without images, in seconds."
    )
    pacs: str = Field(default="", description="Name of the PACS that sends the studies and gets the results.")
    check: bool = Field(default=False, description="Ask that PACS which images a study has, and fetch those missing.")
    send_back: Literal["no", "signed", "ready"] = Field(
        default="no", description="Send the results to that PACS: no, once signed, or as soon as they are ready."
    )
    predict: bool = Field(default=False, description="Compute at once, without waiting for a clinical record.")
    max_waiting_mb: int = Field(default=20_480, gt=0, description="Most that may wait to be complete, in MB.")
    max_instance_mb: int = Field(default=1024, gt=0, description="Largest single DICOM object, in MB.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """What asks a PACS needs its name."""
        if (self.check or self.send_back != "no") and not self.pacs:
            message = "check and send_back need pacs"
            raise ValueError(message)
        return self
