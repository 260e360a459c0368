"""HTTP as one more way to carry the messages of gRPC's methods: channels that look to a client as gRPC's own do.

A message is posted to the path that gRPC gives its method, and answered by a message. `httpx` is imported only here,
and only for targets with http:// or https://.
"""

from __future__ import annotations

from covey.errors import InvalidInput


def require_httpx() -> None:
    """Raises InvalidInput where it is not installed."""
    try:
        import httpx  # noqa: F401 - heavy, and only needed here
    except ImportError as error:
        raise InvalidInput(
            "targets with http:// and https:// need the package httpx; install it: pip install 'covey-serve[http]'"
        ) from error
