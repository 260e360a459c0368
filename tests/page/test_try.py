"""Try: images come in every way that the page offers, and answers are those of the server."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from google.protobuf import json_format
from PIL import Image
from playwright.sync_api import expect
from tests.conftest import WriteModel
from tests.page.conftest import OpenTab
from tests.page.strokes import DIGITS, Stroke
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import ask

from covey_proto.v1 import classifier_pb2 as pb

if TYPE_CHECKING:
    from playwright.sync_api import Page

GIVE = """(target, {files, event}) => {
    const transfer = new DataTransfer();
    for (const {name, type, data} of files) {
        const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
        transfer.items.add(new File([bytes], name, {type}));
    }
    const options = {bubbles: true, cancelable: true};
    target.dispatchEvent(event === "paste" ? new ClipboardEvent("paste", {clipboardData: transfer, ...options})
                                           : new DragEvent("drop", {dataTransfer: transfer, ...options}));
}"""


def picture(kind: str = "JPEG", size: int = 40) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def give(page: Page, files: dict[str, bytes], event: str = "drop") -> None:
    """Drops or pastes files."""
    listed = [
        {"name": name, "type": "image/jpeg", "data": base64.b64encode(content).decode()}
        for name, content in files.items()
    ]
    page.locator(".zone").evaluate(GIVE, {"files": listed, "event": event})


def draw(page: Page, strokes: list[Stroke]) -> None:
    """Draws with the mouse, small and in a corner of the board."""
    page.get_by_role("button", name="Clear").click()
    box = page.locator(".board").bounding_box()
    assert box is not None
    for stroke in strokes:
        points = [(box["x"] + 0.7 * x * box["width"], box["y"] + 0.7 * y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_is_classified_as_by_any_other_caller(digit_server: Server, visit: OpenTab, event: str) -> None:
    image = picture()
    page = visit(digit_server).open()
    give(page, {"noise.jpg": image}, event)
    page.locator(".result .bars li").nth(4).wait_for()
    expected = ask(digit_server.http_port, "POST", "/v1/models/digits/classify", image).json["results"][0]["classes"]
    assert page.locator(".result .bars .label").all_inner_texts() == [each["label"] for each in expected]
    shown = page.locator(".result .bars .figure").all_inner_texts()
    assert [float(each.rstrip(" %")) for each in shown] == pytest.approx(
        [each["probability"] * 100 for each in expected], abs=0.06
    )
    assert re.search(r"in a batch of 1 on cpu", page.locator(".result .timing").inner_text())


def test_what_the_model_saw_is_shown(digit_server: Server, visit: OpenTab) -> None:
    image = picture()
    page = visit(digit_server).open()
    give(page, {"noise.jpg": image})
    seen = page.locator(".result .seen canvas")
    seen.wait_for()
    found = seen.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
        ".filter((_, place) => place % 4 === 0)"
    )
    answer = ask(digit_server.http_port, "POST", "/v1/models/digits/explain", image).json
    assert bytes(found) == base64.b64decode(answer["image"]["pixels"])


def test_what_the_model_saw_follows_the_model(
    digits: Path, tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    shutil.copytree(digits, tmp_path / "models")
    write_echo_model(tmp_path / "models")
    page = visit(start_server(tmp_path / "models")).open()
    page.locator("#choose-model").select_option("digits")
    give(page, {"noise.jpg": picture()})
    expect(page.locator(".result .seen figcaption")).to_contain_text("28 \u00d7 28")
    page.locator("#choose-model").select_option("echo")
    expect(page.locator(".result")).to_contain_text("by echo 1")
    expect(page.locator(".result .seen figcaption")).not_to_contain_text("28 \u00d7 28")
    page.get_by_role("link", name="How it was prepared").click()
    expect(page.locator(".detail h2")).to_contain_text("echo")


def test_a_phone_shows_the_answer_before_the_code(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open()
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#files").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture()})
    page.locator(".result .bars li").nth(4).wait_for()
    answer, code = page.locator(".result").bounding_box(), page.locator(".code").bounding_box()
    assert answer is not None
    assert code is not None
    assert answer["y"] < code["y"]
    expect(page.locator(".result")).to_be_in_viewport()


def test_of_several_files_each_has_its_answer_or_its_error(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open()
    give(page, {"good.jpg": picture(), "bad.jpg": b"no image at all", "other.jpg": picture(size=20)})
    page.locator(".result .problem").wait_for()
    cards = page.locator(".result")
    assert [card.locator("figcaption").first.inner_text().split()[0] for card in cards.all()] == [
        "good.jpg", "bad.jpg", "other.jpg",
    ]  # fmt: skip
    expected = ask(digit_server.http_port, "POST", "/v1/models/digits/classify", b"no image at all").error
    assert cards.nth(1).locator(".problem").inner_text() == expected
    for place in (0, 2):
        assert cards.nth(place).locator(".bars li").count() == 5


def test_two_hundred_files_at_once(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open()
    give(page, {f"{number}.jpg": picture(size=8) for number in range(200)})
    page.locator(".result .bars").nth(199).wait_for()


def test_a_file_that_is_too_large_is_refused_with_the_servers_sentence(
    digits: Path, start_server: StartServer, visit: OpenTab
) -> None:
    tab = visit(start_server(digits, max_message_bytes=5_000))
    page = tab.open()
    give(page, {"large.jpg": picture(size=200)})
    text = page.locator(".result .problem").inner_text()
    assert re.search(r"5,000|ended the request", text)
    page.locator(".state-ready").wait_for()
    tab.errors.clear()  # the browser reports the status


def test_the_camera(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open()
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take a picture").click()
    page.locator(".result .bars").wait_for()
    assert "camera.jpg" in page.locator(".result figcaption").first.inner_text()


@pytest.mark.slow
def test_drawn_digits_are_read(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open()
    page.get_by_role("button", name="Draw").click()
    page.locator(".board").wait_for()
    assert "scaled to fit 20" in page.locator(".drawing").inner_text()
    read = []
    for _, strokes in DIGITS:
        draw(page, list(strokes))
        page.locator(f".board[data-sent='{len(strokes)}']").wait_for()
        page.locator(".result[aria-busy=false]").first.wait_for()
        read.append(page.locator(".result h2 span").first.inner_text())
    wrong = [(digit, said) for (digit, _), said in zip(DIGITS, read, strict=True) if str(digit) != said]
    assert len(wrong) <= 1, wrong


def test_the_code_that_is_shown_does_what_the_page_did(
    digit_server: Server,
    visit: OpenTab,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "image.jpg").write_bytes(picture())
    page = visit(digit_server).open()
    page.get_by_text("As code").click()
    best = ask(digit_server.http_port, "POST", "/v1/models/digits/classify", picture()).json["results"][0]
    label = best["classes"][0]["label"]
    code = page.locator(".code pre")
    monkeypatch.chdir(tmp_path)
    code.wait_for()
    exec(compile(code.inner_text(), "python", "exec"), {})
    assert capsys.readouterr().out.split()[0] == label
    for name in ("grpcurl", "JavaScript", "curl"):
        page.locator(".code").get_by_role("button", name=name, exact=True).click()
        assert "digits" in code.inner_text()
    if shutil.which("curl"):
        run = subprocess.run(code.inner_text(), shell=True, capture_output=True, text=True, check=True, cwd=tmp_path)
        assert f'"label":"{label}"' in run.stdout


def test_the_code_for_grpcurl_sends_large_images(digit_server: Server, visit: OpenTab, tmp_path: Path) -> None:
    image = picture("PNG", 300)  # in base64 more than the 128 KiB that an argument may have
    (tmp_path / "image.jpg").write_bytes(image)
    (tmp_path / "grpcurl").write_text("#!/bin/sh\ncat\n")  # what it is given on its standard input
    (tmp_path / "grpcurl").chmod(0o755)
    page = visit(digit_server).open()
    page.get_by_text("As code").click()
    page.locator(".code").get_by_role("button", name="grpcurl", exact=True).click()
    code = page.locator(".code pre").inner_text()
    assert "-d @" in code
    run = subprocess.run(
        code, shell=True, capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    message = json_format.Parse(run.stdout, pb.ClassifyRequest())
    assert list(message.encoded.images) == [image]


def test_the_code_for_javascript_runs(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open()
    page.get_by_text("As code").click()
    page.locator(".code").get_by_role("button", name="JavaScript", exact=True).click()
    code = page.locator(".code pre").inner_text()
    give_to_input = """(name) => {
        const transfer = new DataTransfer();
        const bytes = Uint8Array.from(atob(name), (each) => each.charCodeAt(0));
        transfer.items.add(new File([bytes], "image.jpg"));
        document.querySelector("input[type=file]").files = transfer.files;
    }"""
    page.evaluate(give_to_input, base64.b64encode(picture()).decode())
    best = ask(digit_server.http_port, "POST", "/v1/models/digits/classify", picture()).json["results"][0]
    with page.expect_console_message() as said:
        page.evaluate(f"(async () => {{ {code} }})()")
    assert said.value.text.split()[0] == best["classes"][0]["label"]


def test_independent_labels(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path, thresholds=[0.25])
    page = visit(start_server(tmp_path)).open()
    assert "at or above their threshold (0.25)" in page.locator(".settings").inner_text()
    assert page.locator("#top-k").count() == 0
    give(page, {"black.png": png(0), "white.png": png(255)})
    page.locator(".result .bars li").nth(9).wait_for()
    assert page.locator(".result").first.get_by_text("No label reaches its threshold.").is_visible()


def test_unknown_images(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path, known_from=0.5)
    page = visit(start_server(tmp_path)).open()
    give(page, {"black.png": png(0), "white.png": png(255)})
    page.locator(".result .bars").nth(1).wait_for()
    black, white = page.locator(".result").all()
    expect(black.locator("h2 .pill")).to_have_text("unknown")
    expect(black.get_by_text("No class is probable enough")).to_be_visible()
    expect(white.locator("h2 .pill")).to_have_count(0)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, "PNG")
    return buffer.getvalue()
