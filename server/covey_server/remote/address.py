"""The URL of a store: which ones are accepted, how they are shown, and the cache folder of each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from covey_server.errors import InvalidConfiguration

# The packages to install for each scheme.
PACKAGES = {
    "s3": "'covey-serve[remote]'",
    "http": "'covey-serve[remote]'",
    "https": "'covey-serve[remote]'",
    "gs": "'covey-serve[remote]' gcsfs",
    "az": "'covey-serve[remote]' adlfs",
    "hf": "'covey-serve[remote]' huggingface_hub",
}
_USER = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True)
class Address:
    """A store's URL. `url` may hold a password: show `display_url`."""

    url: str

    @classmethod
    def parse(cls, text: str, option: str = "--models ") -> Address:
        """The address of a URL. Raises InvalidConfiguration for a URL that is not accepted; `option` precedes the URL
        in its message."""
        display_url = redact(text)
        try:
            parts = urlsplit(text)
        except ValueError:  # brackets where the host belongs
            raise InvalidConfiguration(
                f"{option}{display_url}: expected the name of a bucket or a server behind ://, without brackets; a "
                f"pattern may stand for what is below it"
            ) from None
        if parts.scheme not in PACKAGES:
            raise InvalidConfiguration(
                f"{option}{display_url}: expected a folder, or a URL that begins with "
                f"{', '.join(f'{scheme}://' for scheme in PACKAGES)}"
            )
        if not parts.netloc:
            raise InvalidConfiguration(
                f"{option}{display_url}: expected {parts.scheme}://BUCKET/PREFIX; it names no bucket"
            )
        if parts.scheme == "s3" and ":" in parts.netloc and not _USER.search(text):
            # Shown without what follows: of KEY:SECRET@BUCKET the secret may have a slash.
            raise InvalidConfiguration(
                f"{option}s3://***: expected s3://BUCKET/PREFIX, without : in the bucket's name; credentials come from "
                f"the environment, the server's address too: AWS_ENDPOINT_URL"
            )
        if parts.query or parts.fragment:
            # Shown without it: it may be a signature.
            raise InvalidConfiguration(
                f"{option}{display_url.partition('?')[0].partition('#')[0]}: expected a URL without ? and #; files "
                f"are looked for below it, and credentials come from the environment"
            )
        if _USER.search(text) and parts.scheme not in ("http", "https"):
            raise InvalidConfiguration(
                f"{option}{display_url}: expected no credentials in the URL; {parts.scheme}:// takes them from the "
                f"environment"
            )
        return cls(text.rstrip("/"))

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def display_url(self) -> str:
        """The URL without its password."""
        return redact(self.url)

    def cache_folder(self, parent: str, environment: Mapping[str, str]) -> Path:
        """The folder that the store is mirrored into, below `parent` or, if that is "", below the user's cache folder.
        Two URLs never share one."""
        if parent:
            folder = Path(parent)
        else:
            base = environment.get("XDG_CACHE_HOME", "")
            folder = (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "covey" / "models"  # noqa: PTH117
        public_url = _USER.sub("", self.url)
        readable = re.sub(r"[^A-Za-z0-9]+", "-", public_url).strip("-")[:60]
        return folder / f"{readable}-{hashlib.sha256(public_url.encode()).hexdigest()[:12]}"


def redact(text: str) -> str:
    """The text without the users and passwords in its URLs."""
    return _USER.sub("***@", text)
