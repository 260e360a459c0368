"""What the server behind the page of `covey label` answers, and what it refuses; tests/page has the page itself."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.clients.labelling.captured import places, serving_page, write

from covey.labelling.page import LabelPage


@pytest.fixture
def label_page(tmp_path: Path) -> Iterator[LabelPage]:
    with serving_page(tmp_path / "lenet") as page:
        yield page


def test_the_command_prints_its_address_and_ends_with_the_page(tmp_path: Path) -> None:
    folder = write(tmp_path / "lenet")
    command = [sys.executable, "-m", "covey", "label", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = urlsplit(process.stdout.readline().split()[-1])
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
        connection.request("GET", f"{url.path}state")
        current = json.loads(connection.getresponse().read())["current"]["file"]
        for path, body in (("label", {"file": current, "class": "dog"}), ("quit", {})):
            connection.request("POST", url.path + path, json.dumps(body))
            connection.getresponse().read()
        said = process.stdout.read()
        assert process.wait(60) == 0
    assert "1 image labelled, 3 wait" in said
    assert places(folder)[0] == "dog"


def test_a_page_that_was_left_open_labels_no_other_image(label_page: LabelPage) -> None:
    current = label_page.captures.next()
    assert current is not None
    found = ask(label_page, "POST", "label", {"file": "another.png", "class": "dog"})
    assert found[0] == 409
    assert json.loads(found[1])["current"]["file"] == current.name
    assert places(label_page.captures.folder)[0] == "cat"


def test_strangers_and_wrong_requests_are_refused(label_page: LabelPage) -> None:
    folder = label_page.captures.folder
    assert ask(label_page, "GET", "state", token="wrong")[0] == 403
    assert ask(label_page, "POST", "discard", {}, token="")[0] == 403
    assert ask(label_page, "GET", "state", host="evil.example:80")[0] == 403
    assert ask(label_page, "GET", "image/..%2F..%2Fclasses.json")[0] == 404
    assert ask(label_page, "GET", "nothing")[0] == 404
    assert ask(label_page, "POST", "nothing", {})[0] == 404
    assert ask(label_page, "POST", "label", [])[0] == 400
    assert ask(label_page, "POST", "label", {"x": "y" * 70_000})[0] == 400
    current = json.loads(ask(label_page, "GET", "state")[1])["current"]["file"]
    status, body = ask(label_page, "POST", "label", {"file": current, "class": "fish"})
    assert (status, "no class has the label 'fish'" in body) == (400, True)
    assert places(folder) == {0: "cat", 1: "dog", 2: "cat", 3: "bird_bat"}


def ask(
    page: LabelPage, method: str, path: str, body: object = None, *, token: str | None = None, host: str = ""
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port, timeout=60)
    headers = {"Host": host or f"127.0.0.1:{page.server_port}"}
    data = None if body is None else json.dumps(body)
    connection.request(method, f"/{page.token if token is None else token}/{path}", data, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found
