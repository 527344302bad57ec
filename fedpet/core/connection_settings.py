"""What settings of connections share: certificates, web addresses, secrets, and the inference server.

Secrets are never settings: a connection names the environment variable or the file that holds its secret.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path  # noqa: TC003  pydantic reads the annotations at run time
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def address_faults(url: str, *, secret: bool) -> dict[str, bool]:
    """What can be wrong with a web address, and whether it is; `secret` says that one is sent along."""
    parts = urlsplit(url)
    web = parts.scheme in {"http", "https"} and bool(parts.hostname)
    return {
        "url must be http(s)://host…": bool(url) and not web,
        "url must not hold a user or a password": "@" in parts.netloc,
        "a secret needs https": secret and parts.scheme == "http" and parts.hostname not in _LOOPBACK,
    }


def read_secret(variable: str, file: Path | None) -> str | None:
    """The secret in a file or, without one, in an environment variable; None where it is not there."""
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError:
            return None
    return os.environ.get(variable) if variable else None


class Encrypted(BaseModel):
    """Certificates in PEM files; without `ca_file`, the authorities that this machine trusts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: Path | None = Field(
        default=None, description="Certificates (PEM) that the other side's must descend from."
    )
    cert_file: Path | None = Field(default=None, description="Our certificate (PEM).")
    key_file: Path | None = Field(default=None, description="Its private key (PEM).")

    def caller_context(self) -> ssl.SSLContext:
        """For connections that we open: whom we trust, and the certificate that we show, if any."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def listener_context(self) -> ssl.SSLContext | None:
        """For connections that we accept: our certificate, and whose we ask for; None without encryption."""
        if self.cert_file is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_file)
        context.load_cert_chain(self.cert_file, self.key_file)
        if self.ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class InferenceServerSettings(Encrypted):
    """A server that runs the network of the model in the place of this machine (Open Inference Protocol, HTTP)."""

    url: str = Field(
        default="", description="Address of the server, https://host:port, before /v2; empty runs the network here."
    )
    model: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Name of the model there; empty takes the one that `fedpet model export-triton` gives.",
    )
    secret_env: str = Field(default="", description="Environment variable with the token (Authorization: Bearer).")
    secret_file: Path | None = Field(default=None, description="File with the token, in the place of a variable.")
    timeout_s: float = Field(default=60.0, gt=0, description="Longest wait for the server, in seconds.")

    @property
    def has_secret(self) -> bool:
        """Whether a token is to be sent."""
        return bool(self.secret_env or self.secret_file)

    def read_secret(self) -> str | None:
        """The token, or None where none is configured or it is not there."""
        return read_secret(self.secret_env, self.secret_file)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """No credentials in the address; neither a token nor values of a patient over an open line."""
        faults = address_faults(self.url, secret=True)
        faults["values of patients need https"] = faults.pop("a secret needs https")
        for message, wrong in faults.items():
            if wrong:
                raise ValueError(message)
        return self
