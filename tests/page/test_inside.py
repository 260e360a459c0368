"""Look inside: layers, units, heat maps, the view in three dimensions, the image that is dragged, two models."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect
from tests.page.conftest import OpenTab, Visit
from tests.page.networks import write_convolutions
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import ask
from tests.waiting import wait_until

from covey_server.explaining.functions import FORMULAS

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

# Of explaining/describing.py, what no layer of the network of these tests says.
DETAILS = (
    "224 x 224 pixels, 3 channels, as prepared",
    "1 filter of 3 x 1 over 1 channel, stride 2, dilation 2, padding 1 x 0",
    "32 filters of 3 x 3 each over one channel, stride 1, padding 1",
    "64 filters of 3 x 3 in 32 groups, each over 4 channels, stride 1 x 2, dilation 1 x 2, no padding",
    "the greatest of each map",
    "the mean of each map",
    "the mean of each 3 x 3, stride 2, padding 1",
    "of 2 layers",
    "each channel shifted and scaled",
    "a part of the network that runs image by image; what is in it is not shown",
)
DIGIT = Path(__file__).parents[2] / "docs" / "digit.png"


def look_inside(tab: Visit) -> Page:
    """The view with the digit in it."""
    page = tab.open("inside")
    page.set_input_files("#inside-file", DIGIT)
    page.locator(".answer .bars").first.wait_for()
    return page


def explained(server: Server, url: str) -> Any:  # noqa: ANN401 - as the server says
    """The server's answer to what the page has asked."""
    return ask(server.http_port, "POST", url[url.index("/v1/") :], DIGIT.read_bytes()).json


def test_the_layers_are_those_of_the_server(digit_server: Server, visit: OpenTab) -> None:
    page = look_inside(visit(digit_server))
    layers = ask(digit_server.http_port, "GET", "/v1/models/digits/layers").json["layers"]
    shapes = page.locator(".network .layer .tag .small").all_inner_texts()
    assert shapes == [" \u00d7 ".join(map(str, layer["shape"])) for layer in layers]
    assert page.locator(".network .layer canvas").count() >= len(layers)
    names = page.locator(".network .layer .tag span:first-child").all_inner_texts()
    assert [int(each.split()[0]) for each in names] == [layer["index"] for layer in layers]
    for kind in ("Convolution", "Max pooling", "Fully connected", "Softmax"):
        page.locator(".network .tag", has_text=kind).first.click()
        expect(page.locator(".layer-view h3")).to_contain_text(kind)
        assert len(page.locator(".layer-view p").first.inner_text()) > 40


def test_layers_are_described_in_the_visitors_language(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open("inside")
    page.get_by_label("Language").select_option("zh")
    page.set_input_files("#inside-file", DIGIT)
    page.locator(".network .tag").nth(1).click()
    expect(page.locator(".layer-view")).to_contain_text("\u5377\u79ef\u6838")  # kernel
    told = """async (sentences) => sentences.map((await import("/page/text.js")).told)"""
    layers = ask(digit_server.http_port, "GET", "/v1/models/digits/layers").json["layers"]
    sentences = [*(layer["detail"] for layer in layers), *FORMULAS.values(), *DETAILS]
    functions = {"tanh", "exp", "log", "max", "x", "X", "P"}
    for sentence, words in zip(sentences, page.evaluate(told, sentences), strict=True):
        assert set(re.findall("[A-Za-z]+", words)) <= functions, f"{sentence} became {words}"


def test_the_image_that_was_tried_is_the_one_looked_at(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open("try")
    page.set_input_files("#files", DIGIT)
    page.locator(".result .bars").wait_for()
    page.locator("nav a", has_text="Look inside").click()
    expect(page.locator(".answer .bars").first).to_be_visible()


def test_the_terms_of_the_tutorial_are_explained(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open("inside")
    page.locator(".terms-list summary").click()
    terms = page.locator(".terms-list dt").all_inner_texts()
    assert terms == [
        "Convolution", "Padding", "Stride", "Parameter sharing", "Pooling", "Flatten", "Fully connected", "Dropout",
        "Softmax", "Cross-entropy",
    ]  # fmt: skip


def test_pointing_at_a_map_tells_its_value(digit_server: Server, visit: OpenTab) -> None:
    page = look_inside(visit(digit_server))
    page.locator(".layer-view canvas").first.hover()
    expect(page.locator(".tooltip")).to_contain_text("channel 0, row")


def test_a_units_arithmetic_is_the_engines(digit_server: Server, visit: OpenTab) -> None:
    page = look_inside(visit(digit_server))
    canvas = page.locator(".layer-view canvas").first
    canvas.wait_for()
    box = canvas.bounding_box()
    assert box is not None
    with page.expect_response(lambda response: "unit=" in response.url) as asked:
        canvas.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.4})
    unit = explained(digit_server, asked.value.url)["unit"]
    panel = page.locator(".unit-view")
    panel.locator(".equation").wait_for()
    products = np.frombuffer(base64.b64decode(unit["inputs"]), "<f4") * np.frombuffer(
        base64.b64decode(unit["weights"]), "<f4"
    )
    total = products.sum() + unit["bias"] + unit["rest"]
    assert total == pytest.approx(unit["engine_value"], rel=1e-3, abs=1e-4)
    shown = float(panel.locator("[data-value=result]").inner_text())
    assert shown == pytest.approx(unit["engine_value"], rel=2e-3, abs=1e-4)
    assert "The engine computed the same" in panel.inner_text()
    assert "scaled as in training" in panel.inner_text()
    assert page.locator(".field-box").is_visible()
    # Step by step: the running sum ends at the sum of the shown channel.
    count = unit["height"] * unit["width"]
    step = panel.get_by_role("button", name="One step")
    for _ in range(count):
        step.click()
    first = float(products[:count].sum())
    words = panel.locator(".running").inner_text().rstrip(".").split()
    assert float(words[-1]) == pytest.approx(first, rel=2e-3, abs=1e-4)


def test_the_heat_map_can_be_faded_and_asked_of_another_class(digit_server: Server, visit: OpenTab) -> None:
    page = look_inside(visit(digit_server))
    heat = page.locator(".picture .heat")
    heat.wait_for()
    page.locator("#heat-strength").fill("20")
    assert float(heat.evaluate("canvas => canvas.style.opacity")) == pytest.approx(0.2)
    drawn = "canvas => canvas.toDataURL()"
    before = heat.evaluate(drawn)
    other = page.locator(".heat-choice option").last.get_attribute("value")
    with page.expect_response(lambda response: f"heat={other}" in response.url) as asked:
        page.locator(".heat-choice select").select_option(other)
    assert explained(digit_server, asked.value.url)["heat_map"]["class_index"] == int(other or -1)
    page.locator(".picture-card").get_by_text("Occlusion").or_(page.get_by_text("Class activation")).first.wait_for()
    assert heat.evaluate(drawn) != before
    page.locator("#heat-strength").fill("0")
    expect(heat).to_be_hidden()


def test_a_heat_map_can_be_of_any_class_and_says_of_which(digit_server: Server, visit: OpenTab) -> None:
    page = look_inside(visit(digit_server))
    likely = page.locator(".answer .label").all_inner_texts()
    unlikely = next(each for each in "0123456789" if each not in likely)
    choice = page.locator(".heat-choice select")
    choice.select_option(label=unlikely)
    expect(page.locator(".heat-choice p")).to_contain_text(f"speaks for \u201c{unlikely}\u201d")
    # The picture is moved, so that other classes may be likely: the choice and the map are still of this class.
    with page.expect_response(lambda response: f"heat={unlikely}" in response.url):
        page.locator(".picture").press("ArrowLeft")
    expect(choice).to_have_value(unlikely)
    base = page.locator(".picture .base").bounding_box()
    assert base is not None
    assert base["height"] > 100, "a filter on it must not make its picture vanish"


def test_answer_and_maps_do_not_wait_for_the_heat_map(digit_server: Server, visit: OpenTab) -> None:
    page = visit(digit_server).open("inside")
    held: list[Route] = []
    page.route("**/explain?*heat=*", lambda route: held.append(route))
    page.set_input_files("#inside-file", DIGIT)
    page.locator(".answer .bars").wait_for()
    expect(page.locator(".heat-choice p")).to_contain_text("is being made")
    expect(page.locator(".picture .heat")).to_be_hidden()
    wait_until(lambda: page.evaluate("true") and bool(held))  # asking the page lets Playwright tell of the request
    # Another image does not wait for it either: the request is given up.
    with page.expect_event("requestfailed") as given_up, page.expect_response("**/explain?*maps=*"):
        page.locator(".picture").press("ArrowLeft")
    assert "heat=" in given_up.value.url
    # Nor does another class, or the arithmetic of a unit.
    wait_until(lambda: page.evaluate("true") and len(held) > 1)
    with page.expect_request("**/explain?*heat=1*"):
        page.locator(".heat-choice select").select_option("1")
    with page.expect_response("**/explain?*unit=*"):
        page.locator(".layer-view canvas").first.click()
    page.locator(".unit-view .equation").wait_for()
    wait_until(lambda: page.evaluate("true") and len(held) > 3)
    held[-1].continue_()
    expect(page.locator(".picture .heat")).to_be_visible()
    expect(page.locator(".heat-choice p")).to_contain_text("Occlusion")


def test_a_file_that_is_no_image_is_not_shown_beside_anothers_answer(digit_server: Server, visit: OpenTab) -> None:
    tab = visit(digit_server)
    page = look_inside(tab)
    page.set_input_files("#inside-file", {"name": "note.jpg", "mimeType": "image/jpeg", "buffer": b"hello"})
    expect(page.locator(".pane .problem")).to_contain_text("not a JPEG")
    for part in (".answer", ".picture", ".network", ".layer-view"):
        expect(page.locator(part)).to_be_hidden()
    page.set_input_files("#inside-file", DIGIT)
    expect(page.locator(".answer .bars")).to_be_visible()
    expect(page.locator(".pane .problem")).to_have_count(0)
    tab.errors[:] = [each for each in tab.errors if "422" not in each]


def test_a_probability_is_computed_from_its_score(digit_server: Server, visit: OpenTab) -> None:
    page = look_inside(visit(digit_server))
    page.locator(".network .tag", has_text="Softmax").click()
    canvas = page.locator(".layer-view canvas")
    canvas.wait_for()
    box = canvas.bounding_box()
    assert box is not None
    label = page.locator(".answer h3").inner_text()
    canvas.click(position={"x": box["width"] / 2, "y": box["height"] * (int(label) + 0.5) / 10})
    panel = page.locator(".unit-view")
    expect(panel.locator("h3")).to_contain_text(f"Fully connected, unit {label}")
    # The listed terms, the others and the bias add up to the score; its share of all powers is the probability.
    equation = panel.locator(".equation").inner_text()
    sums = [float(each) for each in re.findall(r"(?:listed|others|bias) (\S+)", equation)]
    score = float(panel.locator("[data-value=result]").inner_text())
    assert len(sums) == 3
    assert sum(sums) == pytest.approx(score, rel=2e-3, abs=1e-3)
    power, total = re.search(r"is (\S+); divided by (\S+),", panel.inner_text()).groups()  # type: ignore[union-attr]
    assert float(power) == pytest.approx(np.exp(score), rel=1e-2)
    probability = panel.locator("[data-value=probability]").inner_text()
    assert probability == page.locator(".answer .best .figure").inner_text()
    assert 100 * float(power) / float(total) == pytest.approx(float(probability.split()[0]), abs=0.2)


def test_the_view_in_three_dimensions_turns(digit_server: Server, visit: OpenTab) -> None:
    page = look_inside(visit(digit_server))
    page.get_by_role("button", name="In 3D").click()
    plane = page.locator(".scene .plane")
    plane.first.wait_for()
    assert plane.count() > 10
    turned = "world => world.style.transform"
    world = page.locator(".scene .world")
    seen = {world.evaluate(turned)}
    page.locator(".stage").focus()
    page.keyboard.press("ArrowLeft")
    seen.add(world.evaluate(turned))
    box = page.locator(".stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 60, steps=4)
    page.mouse.up()
    seen.add(world.evaluate(turned))
    assert len(seen) == 3
    assert world.evaluate("world => getComputedStyle(world).transformStyle") == "preserve-3d"


def test_the_network_changes_while_the_image_is_dragged(digit_server: Server, visit: OpenTab) -> None:
    page = look_inside(visit(digit_server))
    maps = page.locator(".network .layer canvas").nth(1)
    before = maps.evaluate("canvas => canvas.toDataURL()")
    box = page.locator(".picture").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    count = page.locator("[data-figure=updates]")
    for step in range(400):
        page.mouse.move(middle[0] - 60 + step * 7 % 120, middle[1] + step * 5 % 70)
        if int(count.get_attribute("data-count") or 0) >= 5:  # answers within one second, while the button is down
            break
    assert int(count.get_attribute("data-count") or 0) >= 5
    page.mouse.move(middle[0] + 90, middle[1])
    page.mouse.up()
    wait_until(lambda: maps.evaluate("canvas => canvas.toDataURL()") != before)
    page.get_by_role("button", name="Back to the middle").click()
    wait_until(lambda: maps.evaluate("canvas => canvas.toDataURL()") == before)


@pytest.mark.parametrize(("layers", "side", "classes"), [(100, 28, 10), (1, 512, 1000)])
def test_deep_networks_large_images_and_many_classes(
    tmp_path: Path, start_server: StartServer, visit: OpenTab, layers: int, side: int, classes: int
) -> None:
    write_convolutions(tmp_path, layers, side, classes)
    server = start_server(tmp_path)
    page = look_inside(visit(server))
    found = ask(server.http_port, "GET", "/v1/models/convolutions/layers").json["layers"]
    shown = page.locator(".network .layer")
    expect(shown.last).to_contain_text("Softmax")
    expect(page.locator(".answer .bars li")).to_have_count(5)
    assert shown.count() <= 24
    expect(page.locator(".network .layer.selected")).to_have_count(1)  # what is described below is in the row
    if len(found) > 24:
        page.get_by_role("button", name="layers", exact=False).first.click()
        assert shown.count() > 24
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.get_by_role("link", name="Models").click()
    expect(page.locator(".labels li")).to_have_count(min(classes, 201))


def test_two_models_see_the_same_image(digits: Path, tmp_path: Path, start_server: StartServer, visit: OpenTab) -> None:
    for name in ("one", "two"):
        shutil.copytree(digits / "digits", tmp_path / name)
    page = look_inside(visit(start_server(tmp_path)))
    page.locator("#compare").select_option("two/1")
    panes = page.locator(".pane")
    expect(panes).to_have_count(2)
    panes.nth(1).locator(".answer .bars").wait_for()
    panes.nth(0).locator(".answer .bars").wait_for()
    assert panes.nth(0).locator(".answer").inner_text() == panes.nth(1).locator(".answer").inner_text()
    first, second = (panes.nth(place).locator(".picture").bounding_box() for place in (0, 1))
    assert first is not None
    assert second is not None
    assert first["y"] == second["y"], "to be compared they stand beside one another"
