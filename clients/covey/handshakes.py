"""What gRPC's words on a connection that could not be made mean, and what to do. gRPC has one status for all of it."""

from __future__ import annotations

from typing import Protocol


class ClientTLS(Protocol):
    """What is asked of a client's TLS settings here."""

    @property
    def client_certificate(self) -> object | None: ...


_OTHER_NAME = (
    "the server's certificate is for another name than the target; if that is right, say so: "
    "covey.TLS(server_name=...) (--server-name)"
)
_NO_HTTP = (
    "what listens there does not speak HTTP/1.1; is it another port? One with TLS is given as https://, one of gRPC "
    "without http://"
)
# In this order: BoringSSL's general word for a certificate that is refused stands beside the particular ones.
_FAILED = (
    ("certificate has expired", "the server's certificate has expired; it has to be renewed there"),
    ("certificate is not yet valid", "the server's certificate is not valid yet; is the clock right, here and there?"),
    ("Hostname Verification Check failed", _OTHER_NAME),
    ("certificate is not valid for", _OTHER_NAME),  # Python's words, over HTTP
    (
        "CERTIFICATE_VERIFY_FAILED",
        (
            "no authority that is trusted here has signed the server's certificate; covey.TLS(ca_certificate=...) "
            "(--ca-certificate) adds it"
        ),
    ),
    (
        "Failed to create security handshaker",
        "the certificates or the key given here cannot be used; do they belong together?",
    ),
    (
        "ALERT_CERTIFICATE_REQUIRED",  # OpenSSL's words, as those below; gRPC tells only that the server hangs up
        "the server asks for a client's certificate: covey.TLS(client_certificate=..., ...) (--client-certificate)",
    ),
    ("ALERT_UNKNOWN_CA", "the server does not accept this client's certificate"),
    (
        "Expected SETTINGS frame as the first frame",
        "what listens there does not speak gRPC; is it another port? A port of HTTP is given as http://HOST:PORT",
    ),
    ("illegal request line", _NO_HTTP),  # h11's words
    ("illegal status line", _NO_HTTP),
    (
        "WRONG_VERSION_NUMBER",
        "what listens there does not speak TLS; omit tls (--tls), or the s of https, or is it another port?",
    ),
)
_HUNG_UP = ("Socket closed", "Connection reset by peer")


def failure(details: str) -> str | None:
    """What is wrong where it is certain, so that no later attempt helps; None where it is not."""
    return next((sentence for words, sentence in _FAILED if words in details), None)


def suspicion(details: str, tls: ClientTLS | None) -> str | None:
    """What may be wrong where something listens and hangs up at once, as a server that wants TLS does, or a client's
    certificate; and as one that is being started does. None where that did not happen."""
    if "last error:" not in details or not any(words in details for words in _HUNG_UP):
        return None
    if tls is None:
        return "something listens there and hangs up; if the server has TLS, give tls=True or covey.TLS(...) (--tls)"
    if tls.client_certificate is None:
        return "the server hangs up; if it asks for a client's certificate: covey.TLS(client_certificate=..., ...)"
    return "the server hangs up; it may not accept this client's certificate"
