"""Configuration: `fedpet.toml` in the working folder (or `FEDPET_CONFIG`), overridden by `FEDPET_*` variables.

Every setting has a default that runs out of the box: SQLite, local folders, the demonstration model. Documented in
`docs/settings.md`; a test keeps that page complete.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from fedpet.core.connection_settings import InferenceServerSettings
from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from fedpet.core.pacs_settings import PacsListenSettings, PacsName, PacsSettings

_ADDRESS_FAULTS: Final = {  # as the validators of the connections say them
    fault.template: fault
    for fault in (
        Message("url must be http(s)://host…"),
        Message("url must not hold a user or a password"),
        Message("a secret needs https"),
        Message("values of patients need https"),
    )
}


class Settings(BaseSettings):
    """Settings of the command and of the application."""

    model_config = SettingsConfigDict(env_prefix="FEDPET_", extra="forbid")

    home: Path = Field(
        default=Path("~/.fedpet"), description="Folder of the cases, the database and the pseudonym key."
    )
    database: str = Field(default="", description="SQLAlchemy URL; empty means SQLite in `home`.")
    model: Path | None = Field(
        default=None, description="Model bundle; empty means the promoted one, else the demonstration model."
    )
    language: Literal["fr", "en"] = Field(default="fr", description="Language of reports and of the application.")
    centre: str = Field(default="", description="Name of the centre printed on the report.")
    model_centre: str = Field(
        default="",
        description="Name of this centre among those that the model is calibrated for; empty widens the intervals.",
    )
    centre_uptake: Path | None = Field(
        default=None,
        description=(
            "Usual uptake of healthy tissue at this centre (`fedpet cohort uptake`); unset takes `centre-uptake.json`"
            " in `home` where it is there, else what is published."
        ),
    )
    report_signer: Path | None = Field(
        default=None, description="PKCS#12 file whose certificate seals signed reports; empty leaves them unsealed."
    )
    report_signer_password_file: Path | None = Field(
        default=None, description="File with its password, private; else the variable FEDPET_REPORT_SIGNER_PASSWORD."
    )
    explain_method: str = Field(
        default="",
        description="How the application explains answers; empty, or of another kind of model: as suits the model.",
    )
    dicom_label_map: bool = Field(
        default=False,
        description="Lesions for the PACS as DICOM Label Map, which fewer viewers know, not as binary Segmentation.",
    )
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        default="auto", description="ONNX Runtime provider; auto takes CUDA where it works, else the CPU."
    )
    threads: int = Field(default=0, ge=0, description="Threads of the prediction engine; 0 lets it choose.")
    inference_server: InferenceServerSettings = Field(
        default=InferenceServerSettings(), description="A server that runs the network, not this machine."
    )
    max_memory_mb: int = Field(
        default=0, ge=0, description="Most memory of one computation, in MB; 0 takes three quarters of the machine's."
    )
    max_minutes: float = Field(default=120.0, gt=0, description="Longest time of one computation or transfer.")
    max_upload_mb: int = Field(default=4096, gt=0, description="Largest upload or uncompressed archive, in MB.")
    max_files: int = Field(default=20_000, gt=0, description="Largest number of files in one study.")
    max_uploads: int = Field(
        default=6, gt=0, description="Files received at the same time; further ones wait. A browser sends six."
    )
    blind_reading: bool = Field(
        default=True, description="The answer is kept back until the reader has confirmed the lesions."
    )
    retention_days: int = Field(
        default=0,
        ge=0,
        description="Age in days from which `fedpet cases purge` erases cases and what waits; 0 keeps everything.",
    )
    audit_anchor: str = Field(
        default="",
        description="Where the audit trail's digests are written as well: empty, syslog, or a file.",
    )
    audit_authority: str = Field(
        default="",
        pattern="^(https?://.+)?$",
        description="Address of an authority of time stamps (RFC 3161), which `fedpet audit stamp` asks.",
    )
    audit_authority_certificate: Path | None = Field(
        default=None, description="Certificate (PEM) under which its stamps must be signed; unset checks no signer."
    )
    host: str = Field(
        default="127.0.0.1", description="Address that the application listens on; beyond this machine only with OIDC."
    )
    port: int = Field(default=8501, ge=1, le=65535, description="Port that the application listens on.")
    public_url: str = Field(
        default="", description="Address under which browsers reach the application, https://host; needed with OIDC."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Names that the application answers to, beside this machine's and the public one."
    )
    sign_in: Literal["local", "oidc"] = Field(
        default="local", description="One local user, or users that sign in by OpenID Connect."
    )
    oidc_issuer: str = Field(default="", description="OIDC: address of the provider, https://host/realm.")
    oidc_client_id: str = Field(default="", description="OIDC: identifier of the application at the provider.")
    oidc_secret_file: Path | None = Field(
        default=None, description="OIDC: file with the client secret, private; else the variable FEDPET_OIDC_SECRET."
    )
    oidc_scope: str = Field(default="openid email profile", description="OIDC: what is asked of the provider.")
    oidc_name_claim: str = Field(
        default="preferred_username", description="OIDC: claim with the name of the user, unique at the provider."
    )
    oidc_roles_claim: str = Field(
        default="roles", description="OIDC: claim with the roles; a dot leads into an object (realm_access.roles)."
    )
    idle_minutes: float = Field(
        default=30.0, gt=0, description="OIDC: a user who does nothing is signed out after this."
    )
    session_hours: float = Field(default=12.0, gt=0, description="OIDC: every user is signed out after this.")
    pacs: dict[PacsName, PacsSettings] = Field(default={}, description="The PACS, by name: one table each.")
    pacs_listen: PacsListenSettings = Field(
        default=PacsListenSettings(), description="The receiver of studies sent by a PACS."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  not used: no .env files
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then secret files, then the TOML file."""
        toml = TomlConfigSettingsSource(settings_cls, Path(os.environ.get("FEDPET_CONFIG", "fedpet.toml")))
        return init_settings, env_settings, file_secret_settings, toml

    @property
    def folder(self) -> Path:
        """`home`, expanded and made if missing (readable by its owner only)."""
        folder = self.home.expanduser().resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unwritable(folder, error) from error
        return folder

    def with_inference_server(self, url: str) -> Settings:
        """The same settings with another address of the inference server; "" changes nothing.

        Raises:
            SettingsError: the address cannot be used.
        """
        if not url:
            return self
        try:
            server = InferenceServerSettings.model_validate(self.inference_server.model_dump() | {"url": url})
        except ValidationError as error:
            raise SettingsError(
                found=Message("The option --inference-server cannot be used: {why}.", why=_reason(error)),
                needed=Message("https://host:port, or http for a server on this machine."),
                advice=Message("Give another address, or leave the option out."),
            ) from error
        return self.model_copy(update={"inference_server": server})

    @property
    def centre_uptake_file(self) -> Path:
        """Where the usual uptake of this centre is kept, whether it is there or not."""
        return self.folder / "centre-uptake.json" if self.centre_uptake is None else self.centre_uptake.expanduser()

    @property
    def runs_folder(self) -> Path:
        """Where trainings leave their journals (`fedpet.core.journal`)."""
        return self.folder / "runs"

    def pseudonym_key(self) -> bytes:
        """The centre's secret key for pseudonyms, made at the first use and kept in `home/pseudonym.key`."""
        return read_or_create_key(self.folder / "pseudonym.key")


def read_or_create_key(path: Path) -> bytes:
    """The secret key in a file, made at the first use (32 random bytes, readable by its owner only).

    Processes that make it at once read the same key.

    Raises:
        SettingsError: the folder cannot be written to.
    """
    if path.exists() and (key := path.read_bytes()):
        return key
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (key := file.read()):
            key = secrets.token_bytes(32)
            file.write(key)
        return key


def _unwritable(folder: Path, error: OSError) -> SettingsError:
    return SettingsError(
        found=Message("The folder {home} cannot be written to ({why}).", home=str(folder), why=error.strerror or ""),
        needed=Message("A folder of this account’s own, on a disk that is not read-only and has room."),
        advice=Message("Set home (FEDPET_HOME) to such a folder, or correct its rights."),
    )


def load_settings() -> Settings:
    """The settings in force.

    Raises:
        SettingsError: a value or a name is not valid.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise _invalid(".".join(map(str, error.errors()[0]["loc"])), error) from error


def _reason(error: ValidationError) -> Message | str:
    """Why a value is not valid: in the reader's language where it is a fault of an address."""
    told = error.errors()[0]["msg"].removeprefix("Value error, ")
    return _ADDRESS_FAULTS.get(told, told)


def _invalid(name: str, error: ValidationError) -> SettingsError:
    return SettingsError(
        found=Message("The setting “{name}” is not valid: {why}.", name=name, why=_reason(error)),
        needed=Message("Settings are listed in docs/settings.md."),
        advice=Message("Correct fedpet.toml or the FEDPET_ environment variable."),
    )
