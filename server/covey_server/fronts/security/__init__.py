"""Who may call, how much, by which connections, and whether services are shown: from the settings, followed while
files change."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path

from covey_server.batching.limits import Limits
from covey_server.config import Config
from covey_server.fronts.security.certificates import Certificates
from covey_server.fronts.security.limits_file import LimitsFile
from covey_server.fronts.security.tokens import Tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Security:
    """What a front demands. `tokens` None: anybody may call; `certificates` None: connections are plaintext; `limits`
    None: each may as much as others."""

    tokens: Tokens | None = None
    certificates: Certificates | None = None
    reflection: bool = True
    limits: LimitsFile | None = None

    @classmethod
    def of(cls, config: Config) -> Security:
        """From the settings. Raises InvalidConfiguration if a file they name cannot be used."""
        tokens = Tokens(Path(config.auth_token_file)) if config.auth_token_file else None
        certificates = None
        if config.tls_certificate:
            client_ca = Path(config.tls_client_ca) if config.tls_client_ca else None
            certificates = Certificates(Path(config.tls_certificate), Path(config.tls_key), client_ca)
        limits = LimitsFile(Path(config.limits_file), config.processes) if config.limits_file else None
        if limits is not None and tokens is None and not config.tls_client_ca:
            log.warning(
                "--limits-file: callers need neither a token nor a certificate, so that [default] holds for all of "
                "them together; give --auth-token-file or --tls-client-ca"
            )
        is_open = not is_loopback(config.host)
        if is_open and config.allow_management and tokens is None and not config.tls_client_ca:
            log.warning(
                "everybody who reaches %s may load and unload models; give --auth-token-file or --tls-client-ca",
                config.host,
            )
        if is_open and tokens is not None and certificates is None:
            log.warning(
                "tokens travel in the clear to %s: whoever can read the network can read them. Give --tls-certificate "
                "and --tls-key, or see to it that a proxy or mesh encrypts",
                config.host,
            )
        security = cls(tokens, certificates, config.reflection, limits)
        security._warn_of_unknown_tokens()
        return security

    @property
    def principal_limits(self) -> Limits | None:
        """What each token or certificate may; None: as much as others."""
        return None if self.limits is None else self.limits.limits

    @property
    def followed(self) -> bool:
        """Whether there are files that may change."""
        return any(each is not None for each in (self.tokens, self.certificates, self.limits))

    def refresh(self) -> None:
        """Reads files that have changed."""
        if self.certificates is not None:
            self.certificates.refresh()
        changed = [each.refresh() for each in (self.tokens, self.limits) if each is not None]
        if any(changed):
            self._warn_of_unknown_tokens()

    def _warn_of_unknown_tokens(self) -> None:
        if self.limits is not None:
            self.limits.warn_of_unknown(frozenset() if self.tokens is None else self.tokens.names)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address to listen on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
