"""Tokens and a certificate for a stack, as Docker secrets: those that are valid now, and the next ones."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.certificates import Authority
from tests.swarm.engines import Failed

import covey

FILES = ("stack.yml", "tokens.yml", "tls.yml")
KEPT_TOKEN = "valid-before-and-after"
Docker = Callable[..., str]


class Secrets:
    """Two sets of each. Both sets of tokens have KEPT_TOKEN; both certificates are of one authority."""

    def __init__(self, folder: Path, docker: Docker, hosts: Sequence[str]) -> None:
        """Creates the first ones, by `docker` on a manager, for servers at these addresses."""
        self._folder = folder
        self._docker = docker
        self._hosts = hosts
        self._authority = Authority(folder)
        self._numbers = {"tokens": 0, "certificate": 0, "key": 0}
        self.tls = covey.TLS(self._authority.certificate)
        self.next_tokens()
        self.next_certificate()

    @property
    def settings(self) -> dict[str, str]:
        """Of the stack: the names of the secrets."""
        return {f"COVEY_{kind.upper()}_SECRET": self._name(kind, number) for kind, number in self._numbers.items()}

    def own_token(self, ago: int = 0) -> str:
        """A token that only the set of now has, or the one `ago` sets before."""
        return f"only-in-set-{self._numbers['tokens'] - ago}"

    def next_tokens(self) -> None:
        path = self._folder / "tokens"
        path.write_text(f"{KEPT_TOKEN}\nonly-in-set-{self._numbers['tokens'] + 1}\n")
        self._create("tokens", path)

    def next_certificate(self) -> None:
        self._pair = self._authority.sign(*self._hosts)
        self._create("certificate", self._pair.certificate)
        self._create("key", self._pair.key)

    def remove_earlier(self, *kinds: str) -> None:
        """Those before the ones of now. Raises Failed where a server still has them."""
        for kind in kinds:
            self._docker("secret", "rm", self._name(kind, self._numbers[kind] - 1))

    def require_tokens(self, grpc_targets: Sequence[str]) -> None:
        """Each server takes the tokens of now, and no others. Raises Failed."""
        for target in grpc_targets:
            for token, is_valid in (
                (KEPT_TOKEN, True),
                (self.own_token(), True),
                (self.own_token(ago=1), False),
                ("", False),
            ):
                try:
                    with covey.Client(target, tls=self.tls, token=token) as client:
                        client.model()
                    was_taken = True
                except covey.Unauthenticated:
                    was_taken = False
                if was_taken != is_valid:
                    raise Failed(f"{target} {'took' if was_taken else 'refused'} the token {token!r}")

    def require_certificate(self, http_targets: Sequence[tuple[str, int]]) -> None:
        """Each server shows the certificate of now. Raises Failed."""
        expected = ssl.PEM_cert_to_DER_cert(_first_certificate(self._pair.certificate.read_text()))
        for target in http_targets:
            if ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(target)) != expected:
                raise Failed(f"{target} shows an earlier certificate")

    def _create(self, kind: str, path: Path) -> None:
        self._docker("secret", "create", self._name(kind, self._numbers[kind] + 1), str(path))
        self._numbers[kind] += 1

    def _name(self, kind: str, number: int) -> str:
        return f"covey-{kind}-{number}"


def _first_certificate(chain: str) -> str:
    end = "-----END CERTIFICATE-----"
    return chain[: chain.index(end) + len(end)]
