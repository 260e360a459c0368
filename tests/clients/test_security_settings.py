"""Settings of a client that cannot be meant: refused where they are given, not by a server later."""

from __future__ import annotations

import pytest

import covey


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"token": b"bytes"}, "the token must be a str, or a function that gives one, not a bytes"),
        ({"token": 5}, "the token must be a str, or a function that gives one, not a int"),
        ({"token": None}, "the token must be a str, or a function that gives one, not a NoneType"),
        ({"token": "line\n"}, "without blanks or line ends"),
        ({"tls": "authority.pem"}, r"tls must be True, False or a covey.TLS\(...\), not a str"),
        ({"deadline_ms": "5"}, "deadline_ms must be a number of milliseconds above 0, not '5'"),
    ],
)
@pytest.mark.parametrize("kind", [covey.Client, covey.AsyncClient])
def test_settings_of_another_type_are_refused(kind: type, settings: dict[str, object], text: str) -> None:
    with pytest.raises(covey.InvalidInput, match=text):
        kind(**settings)
