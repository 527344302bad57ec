"""Where browsers reach the application and how its users sign in: the checked settings, in Streamlit's terms."""

from __future__ import annotations

import ipaddress
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from fedpet.core.settings import Settings

SECRET = "FEDPET_OIDC_SECRET"  # noqa: S105  the name of the environment variable that holds it
HERE = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Deployment:
    """What the server needs to know about its deployment.

    Attributes:
        hosts: names that the application answers to, as in requests.
        origin: of the pages as browsers see them ("" in the local mode).
        auth: the section "auth" of Streamlit's secrets; None in the local mode.
    """

    hosts: tuple[str, ...]
    origin: str
    auth: dict[str, Any] | None

    @property
    def secure(self) -> bool:
        """Whether browsers use https, so that cookies never travel otherwise."""
        return self.origin.startswith("https://")

    @classmethod
    def of(cls, settings: Settings) -> Deployment:
        """The deployment that the settings describe.

        Raises:
            SettingsError: it would be open to everyone, or users could not sign in safely.
        """
        if settings.sign_in == "local":
            if not _loopback(settings.host):
                raise SettingsError(
                    found=Message("Without sign-in, the application would be open on {host}.", host=settings.host),
                    needed=Message("The local single-user mode listens on this machine only, 127.0.0.1."),
                    advice=Message("Set sign_in to “oidc” as docs/security.md describes, or remove the setting host."),
                )
            return cls(HERE, "", None)
        public = urlsplit(settings.public_url)
        for name, url in (("public_url", settings.public_url), ("oidc_issuer", settings.oidc_issuer)):
            _require_https(name, url)
        if public.path.strip("/"):
            raise _unusable("public_url", Message("An address without a path: the application has a host of its own."))
        if not settings.oidc_client_id:
            raise _unusable("oidc_client_id", Message("The identifier under which the provider knows the application."))
        origin = f"{public.scheme}://{public.netloc}"
        auth = {
            "redirect_uri": f"{origin}/oauth2callback",
            # a new one at every start: no earlier identity outlives the sessions in memory
            "cookie_secret": secrets.token_hex(32),
            "client_id": settings.oidc_client_id,
            "client_secret": _client_secret(settings),
            "server_metadata_url": f"{settings.oidc_issuer.rstrip('/')}/.well-known/openid-configuration",
            "client_kwargs": {"scope": settings.oidc_scope},
        }
        hosts = dict.fromkeys((*HERE, public.hostname or "", *settings.allowed_hosts))
        return cls(tuple(hosts), origin, auth)


def _client_secret(settings: Settings) -> str:
    """The secret, from its file or the environment; child processes do not inherit it."""
    path, secret = settings.oidc_secret_file, os.environ.pop(SECRET, "")
    if path is not None:
        try:
            private, secret = path.stat().st_mode & 0o077 == 0, path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise _unusable("oidc_secret_file", Message("A file that the application can read.")) from error
        if not private:
            raise _unusable("oidc_secret_file", Message("A file that only its owner may read (chmod 600)."))
    if not secret:
        needed = Message("The client secret, in this file or in the variable {variable}.", variable=SECRET)
        raise _unusable("oidc_secret_file", needed)
    return secret


def _require_https(name: str, url: str) -> None:
    parts = urlsplit(url)
    plain = parts.scheme == "http" and _loopback(parts.hostname or "")
    if not parts.hostname or "@" in parts.netloc or not (parts.scheme == "https" or plain):
        raise _unusable(name, Message("An address https://host; plain http only on this machine."))


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unusable(name: str, needed: Message) -> SettingsError:
    return SettingsError(
        found=Message("Users cannot sign in: the setting “{name}” cannot be used.", name=name),
        needed=needed,
        advice=Message("The sign-in is described in docs/security.md."),
    )
