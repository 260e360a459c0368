"""The documentation site: every link of every built page leads somewhere, and a broken one fails the build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bench.processes import ROOT

import covey

LINKS = {"a": "href", "img": "src", "link": "href", "script": "src"}


class _Page(HTMLParser):
    """The links of a page, and what a link may lead to within it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {"", "__skip"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.add(values.get("id") or "")
        link = values.get(LINKS.get(tag, ""))
        if link:
            self.links.append(link)


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> Mapping[Path, _Page]:
    return {path: _Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_link_leads_to_a_file_and_a_heading(site: Path, pages: Mapping[Path, _Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []
    assert len(pages) > 20


def test_files_of_the_repository_have_pages(site: Path, pages: Mapping[Path, _Page]) -> None:
    assert "../repository/deploy/edge/" in pages[site / "security" / "index.html"].links
    assert "rendering.py/" in pages[site / "repository" / "deploy" / "edge" / "index.html"].links


def test_pages_ask_no_third_party(pages: Mapping[Path, _Page]) -> None:
    """Fonts and style sheets are the site's own; only a link that a reader follows leads elsewhere."""
    for page in pages.values():
        assert "fonts.googleapis.com" not in "".join(page.links)


def test_the_reference_has_every_public_name(site: Path, pages: Mapping[Path, _Page]) -> None:
    listed = re.findall(r"^::: covey\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(covey.__all__)
    assert {f"covey.{name}" for name in listed} <= pages[site / "api" / "index.html"].anchors
    assert "covey.Client.classify_many" in pages[site / "api" / "index.html"].anchors  # documented by BaseClient


def test_broken_links_fail_the_build(tmp_path: Path) -> None:
    links = ["missing.md", "../missing.py", "security.md#missing"]
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    configuration = (ROOT / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(
        configuration.partition("\nplugins:")[0] + "\ntheme: mkdocs\nvalidation: {anchors: warn}\n"
    )
    assert "repository_links" in configuration.partition("\nplugins:")[0]
    page = tmp_path / "docs" / "metrics.md"
    page.write_text(page.read_text() + "".join(f"\n[A broken link]({link})\n" for link in links))
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    warnings = [line for line in built.stderr.splitlines() if line.startswith("WARNING")]
    for link in links:
        assert any(f"'{link}'" in line for line in warnings), link
