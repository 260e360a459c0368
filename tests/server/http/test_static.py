"""Files of web pages: which are served, with what headers, and how they are asked for again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.server.conftest import Server
from tests.server.http.asking import ask, send

from covey_server.fronts.http.routing import Router
from covey_server.protocols.rest.static import PAGES, static_routes

DOCS = sorted(path.name for path in (PAGES / "docs").iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "page"
    (found / "docs").mkdir(parents=True)
    (found / "docs" / "inner.js").write_text("1")
    (found / "index.html").write_text("<!doctype html>")
    (found / "page.js").write_text("2")
    (tmp_path / "secret.js").write_text("3")
    return found


def test_only_the_files_of_the_folder_have_routes(folder: Path) -> None:
    routes = static_routes(folder, page="/", files="/page")
    assert [route.path for route in routes] == ["/", "/page/page.js"]
    router = Router(routes)
    for path in (b"/", b"/page/page.js", b"/page/%70age.js"):
        assert not router.find(b"GET", path).is_refused
    for path in (
        b"/page", b"/page/", b"/page/index.html", b"/page/inner.js", b"/page/docs/inner.js", b"/page/../secret.js",
        b"/page/%2e%2e/secret.js", b"/page/..%2fsecret.js", b"/page/./page.js", b"//page/page.js", b"/page/page.js%00",
    ):  # fmt: skip
        assert router.find(b"GET", path).is_refused, path


def test_a_file_of_an_unknown_kind_is_noticed(folder: Path) -> None:
    (folder / "notes.txt").write_text("who put this here?")
    with pytest.raises(KeyError):
        static_routes(folder, page="/", files="/page")


@pytest.mark.parametrize("name", DOCS)
def test_a_file_is_sent_whole_with_its_policy(server: Server, name: str) -> None:
    path = "/docs" if name == "index.html" else f"/docs/{name}"
    answer = ask(server.http_port, "GET", path)
    assert answer.status == 200
    assert answer.body == (PAGES / "docs" / name).read_bytes()
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
    assert answer.headers["content-type"] == f"{kinds[Path(name).suffix]}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_without_scripts_a_page_leads_to_what_works_at_this_servers_address(server: Server, path: str) -> None:
    """Whatever its port is: the files are the same on all."""
    text = ask(server.http_port, "GET", path).body.decode()
    (shown,) = re.findall(r"<noscript>(.*?)</noscript>", text, re.DOTALL)
    assert "localhost" not in shown
    links = re.findall(r'href="([^"]+)"', shown)
    assert links
    for link in links:
        answer = ask(server.http_port, "GET", f"/{link.removeprefix('/')}")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), link


def test_who_has_a_file_is_told_so(server: Server) -> None:
    tag = ask(server.http_port, "GET", "/docs").headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = ask(server.http_port, "GET", "/docs", headers={"If-None-Match": known})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in answer.headers
    for other in ("", '"other"', tag.strip('"'), f'"{tag}"'):
        assert ask(server.http_port, "GET", "/docs", headers={"If-None-Match": other}).status == 200


def test_head_and_other_methods(server: Server) -> None:
    get, head = (ask(server.http_port, method, "/docs") for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(get.body))
    assert ask(server.http_port, "POST", "/docs", b"").status == 405


def test_paths_out_of_the_folder_are_not_found(server: Server) -> None:
    for path in ("/docs/../app.py", "/docs/..%2f..%2fapp.py", "/docs/%2e%2e/app.py", "/docs/index.html", "/docs/"):
        assert send(server.http_port, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).status == 404, path
