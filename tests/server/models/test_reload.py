"""What a repository does when its folder changes while it serves."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from tests.server.models.reloading import TextFolder

from covey_server.errors import UnknownModel
from covey_server.models.folder import scan


@pytest.fixture
def models(tmp_path: Path) -> TextFolder:
    """A folder that serves version 1 of `m`."""
    models = TextFolder(tmp_path)
    models.write("m", 1, "good one")
    models.repository.load()
    assert models.record.take() == ["loaded m/1 good one"]
    return models


def test_a_new_version_takes_over(models: TextFolder) -> None:
    models.write("m", 2, "good two")
    assert models.refresh() == ["loaded m/2 good two", "unloaded m/1", "retired m/1"]
    assert models.served() == ["m/2 good two"]
    assert models.repository.catalog.find("m", 0) is models.repository.catalog.find("", 2)
    with pytest.raises(UnknownModel, match=r"version 1 of model 'm' is not served; version 2 is \(ask for version 0"):
        models.repository.catalog.find("m", 1)


def test_nothing_changes_while_nothing_changes(models: TextFolder) -> None:
    catalog = models.repository.catalog
    assert models.refresh(5) == []
    assert models.loads == ["m/1"]
    assert models.repository.catalog is catalog


def test_a_file_that_is_still_being_written_is_left_alone(models: TextFolder) -> None:
    for part in ("good", "good t", "good tw", "good two"):
        models.write("m", 2, part)
        assert models.refresh(1) == []
        assert models.served() == ["m/1 good one"]
    assert models.refresh(1) == ["loaded m/2 good two", "unloaded m/1", "retired m/1"]
    assert models.loads == ["m/1", "m/2"]


def test_a_bad_version_is_refused_once_and_the_old_one_goes_on(
    models: TextFolder, caplog: pytest.LogCaptureFixture
) -> None:
    models.write("m", 2, "bad luck")
    assert models.refresh(5) == ["refused m/2 it is bad luck"]
    assert models.loads == ["m/1", "m/2"], "it is tried again only when its file changes"
    assert caplog.messages.count("model m version 2 is refused: it is bad luck") == 1
    assert models.served() == ["m/1 good one"]
    assert models.refused() == ["m/2 it is bad luck"]
    assert models.repository.catalog.find_refusal("m", 2) is models.repository.catalog.refusals[0]
    assert models.repository.catalog.find_refusal("m", 0) is None
    with pytest.raises(
        UnknownModel, match=r"version 2 of model 'm' is not served .*refused: it is bad luck\); version 1"
    ):
        models.repository.catalog.find("m", 2)

    models.write("m", 2, "good again")
    assert models.refresh() == ["loaded m/2 good again", "unloaded m/1", "retired m/1"]
    assert models.refused() == []


def test_a_file_that_cannot_be_read_is_tried_again_though_it_does_not_change(models: TextFolder) -> None:
    models.path("m", 2).mkdir(parents=True)  # reading it fails as on a bad disk
    assert models.refresh(4) == ["refused m/2 cannot be read: Is a directory"]
    assert models.loads == ["m/1", "m/2", "m/2", "m/2"]


def test_an_error_that_is_a_bug_refuses_that_model_alone(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    models.write("m", 2, "broken")
    models.write("n", 1, "good other")
    assert models.refresh() == [
        "refused m/2 loading it failed with ZeroDivisionError; the server's log says why",
        "loaded n/1 good other",
    ]
    assert "Traceback" in caplog.text
    assert models.served() == ["m/1 good one", "n/1 good other"]


def test_removal_gives_way_to_a_lower_good_version(models: TextFolder) -> None:
    models.write("m", 2, "bad luck")
    models.write("m", 3, "good three")
    assert models.refresh() == ["loaded m/3 good three", "unloaded m/1", "retired m/1"]
    shutil.rmtree(models.path("m", 3).parent)
    assert models.refresh(1) == [], "one look is not believed: it may be about to be replaced"
    assert models.served() == ["m/3 good three"]
    assert models.refresh(1) == ["refused m/2 it is bad luck", "loaded m/1 good one", "unloaded m/3", "retired m/3"]
    assert models.served() == ["m/1 good one"]


def test_a_file_that_is_taken_away_and_put_back_stays_served(models: TextFolder) -> None:
    models.write("other", 1)
    models.refresh()
    path = models.path("m", 1)
    for _ in range(3):
        path.rename(path.with_name(".away"))
        assert models.refresh(1) == []
        path.with_name(".away").rename(path)
        assert models.refresh(1) == []
    assert models.loads == ["m/1", "other/1"]


def test_a_removed_model_is_unloaded_and_a_renamed_one_is_served_first(models: TextFolder) -> None:
    (models.folder / "m").rename(models.folder / "a")
    assert models.refresh() == ["loaded a/1 good one", "unloaded m/1", "retired m/1"]
    assert models.repository.catalog.find("", 0).name == "a"
    with pytest.raises(UnknownModel, match="model 'm' is not served here; these are: a"):
        models.repository.catalog.find("m", 0)


def test_a_removed_model_is_freed_though_nothing_takes_its_place(models: TextFolder) -> None:
    models.write("z", 1)
    assert models.refresh() == ["loaded z/1 good"]
    shutil.rmtree(models.folder / "z")
    assert models.refresh() == ["unloaded z/1", "retired z/1"]


def test_a_version_without_a_file_says_so(models: TextFolder) -> None:
    models.path("m", 2).parent.mkdir()
    assert models.refresh(3) == ["refused m/2 its folder holds no model.onnx"]
    models.path("m", 2).parent.rmdir()
    assert models.refresh() == []
    assert models.refused() == []


def test_other_content_under_the_same_number(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    models.write("m", 1, "good other")
    assert models.refresh() == ["loaded m/1 good other", "retired m/1"]
    assert "model m version 1 has other content than was loaded before" in caplog.text
    assert "under a new version number" in caplog.text
    assert models.served() == ["m/1 good other"]

    models.write("m", 1, "bad other")
    assert models.refresh() == [
        "refused m/1 it is bad other (what its file held before is still served as this version)"
    ]
    assert models.served() == ["m/1 good other"]
    catalog = models.repository.catalog
    assert catalog.find_refusal("m", 1) is None, "version 1 is served, with its old content"
    assert catalog.not_served == [], "so it is listed once, with what is wrong with its file"
    assert catalog.refusal_of_file(catalog.find("m", 1)).startswith("it is bad other (what its file held")
    del catalog  # which holds the model
    models.write("m", 1, "good third")
    assert models.refresh() == ["loaded m/1 good third", "retired m/1"]
    assert models.refused() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("good 8 label-a label-b", "version 3 differs from version 2: input 8x4x1 instead of 4x4x1. Callers"),
        (
            "good label-b label-a",
            "version 3 differs from version 2: labels: 2 of 2 moved, first: class 0 'label-b' was 'label-a'. Callers",
        ),
    ],
)
def test_another_input_or_other_labels_are_warned_of(
    models: TextFolder, caplog: pytest.LogCaptureFixture, text: str, expected: str
) -> None:
    models.write("m", 2, "good label-a label-b")
    models.refresh()
    assert "differs from version 1: 2 labels instead of 0. Callers that name no version meet this once" in caplog.text
    caplog.clear()
    models.write("m", 3, text)
    models.refresh()
    assert expected in caplog.text
    models.write("m", 4, text)
    models.refresh()
    assert caplog.text.count("differs from") == 1, "nothing to tell"
    assert models.served() == [f"m/4 {text}"]


def test_a_version_that_is_removed_while_it_is_loaded(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    path = models.write("m", 2, "good two")
    models.while_loading = lambda: shutil.rmtree(path.parent)
    assert models.refresh() == []
    assert "model m version 2 was removed while it was loaded; it is not served" in caplog.text
    assert models.served() == ["m/1 good one"]
    assert models.refused() == []
    models.while_loading = lambda: None
    models.write("m", 2, "good late two")
    assert models.refresh()[0] == "loaded m/2 good late two"


def test_a_version_that_changes_while_it_is_loaded(models: TextFolder) -> None:
    models.write("m", 2, "good two")
    models.while_loading = lambda: models.write("m", 2, "good two b")
    assert models.refresh() == [
        "refused m/2 its file changed while it was loaded; it is tried again once the file rests"
    ]
    assert models.served() == ["m/1 good one"]
    models.while_loading = lambda: None
    assert models.refresh() == ["loaded m/2 good two b", "unloaded m/1", "retired m/1"]


@pytest.mark.parametrize("mtime_s", [1, 2**32, 2**33 - 1])  # 1970, 2106, 2242
def test_a_clock_that_jumps_means_nothing(models: TextFolder, mtime_s: int) -> None:
    models.write("m", 2, "good two", mtime_s)
    assert models.refresh(1) == []
    assert models.refresh(1) == ["loaded m/2 good two", "unloaded m/1", "retired m/1"]
    assert models.refresh() == []
    models.write("m", 3, "good three", mtime_s - 1)  # older than what it replaces
    assert models.refresh()[0] == "loaded m/3 good three"
    models.write("m", 3, "good 3", mtime_s - 1)  # the same time, another size
    assert models.refresh()[0] == "loaded m/3 good 3"
    path = models.path("m", 3)
    path.rename(path.with_name(".old"))
    models.write("m", 3, "good X", mtime_s - 1)  # the same time and size, another file
    assert models.refresh()[0] == "loaded m/3 good X"


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_a_hub_folder_are_imported_with_their_folder(tmp_path: Path, weights: str) -> None:
    hub = tmp_path / "models" / "vit"
    hub.mkdir(parents=True)
    (hub / weights).write_text("")
    (hub / "config.json").write_text("{}")
    (said,) = (each for each in scan(hub.parent).passed_over if weights in each)
    assert said.endswith(f"to serve it: covey import {hub} --name vit --models {hub.parent}")
    (said,) = (each for each in scan(hub).passed_over if weights in each)
    assert said.endswith(f"to serve it: covey import {hub}")


def test_a_model_named_in_place_of_the_folder_of_models_is_told(tmp_path: Path) -> None:
    version = tmp_path / "my models" / "m" / "3"
    version.mkdir(parents=True)
    (version / "model.onnx").write_text("")
    for named in (version.parent, version):
        (said,) = (each for each in scan(named).passed_over if "model.onnx" in each)
        assert said.endswith(f"name the folder of all models: --models '{tmp_path / 'my models'}'")


def test_what_is_no_model_is_named_once(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    (models.folder / "m" / "latest").mkdir()
    (models.folder / "lost+found").mkdir()
    (models.folder / "stray.onnx").write_text("")
    models.refresh(3)
    passed_over = [message for message in caplog.messages if "is passed over" in message]
    assert len(passed_over) == 3
    (named,) = (message for message in passed_over if "lost+found" in message)
    assert "a model's name has 1 to 64 letters of English, digits, " in named
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    (models.folder / "m" / "latest").rmdir()
    models.refresh(1)
    (models.folder / "m" / "latest").mkdir()
    models.refresh(1)
    assert caplog.text.count("latest is passed over") == 2
