"""What the tests of all reports ask of a page: what it holds, that it loads nothing, what a browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for path in map(shutil.which, _NAMES) if path), "")
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


class Page(HTMLParser):
    """What a browser would see: every tag with its attributes, and the texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if text := data.strip():
            self.texts.append(text)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.tags if found == tag]


def pictures(text: str) -> list[str]:
    """The names of the pictures in a page, in order; each is well-formed and says what it shows."""
    found = []
    for svg in re.findall(r"<svg .*?</svg>", text, flags=re.DOTALL):
        root = ElementTree.fromstring(svg)
        assert root.attrib["role"] == "img"
        assert len(root.attrib["aria-label"]) > 40
        first = next(element.attrib["id"] for element in root.iter() if "id" in element.attrib)
        found.append(first.rpartition("-")[0])
    return found


def assert_self_contained(text: str) -> None:
    """Nothing is loaded, nothing runs but the one script that the page's policy names, every link leads somewhere."""
    page = Page(text)
    scripts = re.findall(r'<script type="module">(.*?)</script>', text, flags=re.DOTALL)
    assert len(page.all("script")) == len(scripts) <= 1
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert f"; script-src {allowed}; " in policy
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object")
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            target = attributes.get(name, "data:").strip()
            assert target.startswith("data:") or (target[:1] == "#" and target[1:] in ids), (tag, target)
    assert not re.search(r"@import|url\((?!#)", text)
    assert all(image["alt"] for image in page.all("img"))


def open_in_browser(path: Path, scratch: Path) -> str:
    """The document that headless Chromium makes of the page. Fails where its console holds a complaint, or where a page
    with a fault would not be heard."""
    faulty = scratch / "faulty.html"
    faulty.write_text('<!DOCTYPE html><title>x</title><img src="missing.png"><script>console.error("no")</script>')
    _, heard = _open(faulty, scratch)
    assert heard
    document, console = _open(path, scratch)
    assert console == []
    return document


def _open(path: Path, scratch: Path) -> tuple[str, list[str]]:
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={scratch / 'browser'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
