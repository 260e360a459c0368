"""The file `default-version`: which version requests get that name none, whatever is published beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import StartServer
from tests.server.models.reloading import TextFolder

from covey import cli
from covey_proto import layout
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.errors import UnknownModel
from covey_server.models import accuracy


def choose(folder: Path, text: str) -> None:
    (folder / "m" / "default-version").write_text(text)


@pytest.fixture
def models(tmp_path: Path) -> TextFolder:
    """A folder whose versions 1, 2 and 3 are good."""
    found = TextFolder(tmp_path)
    for version in (1, 2, 3):
        found.write("m", version)
    return found


def default(models: TextFolder) -> int:
    return models.repository.catalog.find("m", 0).version


def test_the_chosen_version_is_served_beside_the_highest(models: TextFolder) -> None:
    choose(models.folder, "2\n")
    models.repository.load()
    assert models.loads == ["m/3", "m/2"]
    assert models.served() == ["m/3 good", "m/2 good"]
    assert default(models) == 2
    assert models.repository.catalog.find("", 0).version == 2
    assert models.repository.catalog.find("m", 3).version == 3


def test_a_chosen_version_that_is_the_highest_brings_no_other(models: TextFolder) -> None:
    choose(models.folder, "3")
    models.repository.load()
    assert models.loads == ["m/3"]


def test_a_new_version_does_not_take_over(models: TextFolder) -> None:
    choose(models.folder, "3")
    models.repository.load()
    models.record.take()
    models.write("m", 4)
    assert models.refresh() == ["loaded m/4 good"]
    assert (default(models), models.served()) == (3, ["m/4 good", "m/3 good"])


def test_promoted_and_rolled_back(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    choose(models.folder, "2")
    models.repository.load()
    models.record.take()
    choose(models.folder, "3")
    assert models.refresh(times=3) == ["unloaded m/2", "retired m/2"]
    assert default(models) == 3
    assert "model m: requests that name no version are to get version 3" in caplog.text
    choose(models.folder, "1")
    assert models.refresh() == ["loaded m/1 good"]
    assert default(models) == 1
    (models.folder / "m" / "default-version").unlink()
    assert models.refresh(times=3) == ["unloaded m/1", "retired m/1"]
    assert default(models) == 3
    assert "model m: requests that name no version are to get the highest version" in caplog.text


def test_a_choice_that_names_no_version_is_told(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    models.repository.load()
    for file in layout.CHOICES:
        (models.folder / "m" / file).write_text("7")
    models.refresh(times=2)
    assert caplog.text.count("version 7, which is not in the folder yet") == len(layout.CHOICES)


def test_a_choice_is_followed_when_it_rests(models: TextFolder) -> None:
    """Another file may be half written; so may this one."""
    choose(models.folder, "2")
    models.repository.load()
    choose(models.folder, "1")
    models.refresh(times=1)
    assert default(models) == 2
    models.refresh(times=1)
    assert default(models) == 1


@pytest.mark.parametrize("text", ["", "two", "0", "-1", "02", "2 3", "9" * 40, "\x00"])
def test_a_choice_that_cannot_be_read_changes_nothing(
    models: TextFolder, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    choose(models.folder, "2")
    models.repository.load()
    choose(models.folder, text)
    models.refresh(times=5)
    assert default(models) == 2
    assert (
        caplog.text.count("expected the number of a version, a whole number from 1 up; it stays as it was: version 2")
        == 1
    )


def test_at_the_start_it_is_as_if_there_were_none(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    choose(models.folder, "two")
    models.repository.load()
    assert default(models) == 3
    assert "holds 'two': expected" in caplog.text
    assert "it stays as it was: the highest version" in caplog.text


@pytest.mark.parametrize("policy", ["latest:1", "all"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_chosen_version_that_is_not_served_at_the_start_brings_the_next_below_it(
    tmp_path: Path, policy: str, is_there: bool, caplog: pytest.LogCaptureFixture
) -> None:
    models = TextFolder(tmp_path, policy)
    for version, text in ((1, "good"), (2, "good"), (4, "good")):
        models.write("m", version, text)
    if is_there:
        models.write("m", 3, "bad")
    choose(tmp_path, "3")
    models.repository.load()
    assert default(models) == 2
    text = (
        "version 3, which default-version names, is not served, or not yet; requests that name no version get version 2"
    )
    assert text in caplog.text
    models.refresh(times=4)
    assert caplog.text.count("is not served") == 1
    models.write("m", 3, "good")
    models.refresh(times=3)
    assert default(models) == 3


def test_with_none_below_it_requests_that_name_no_version_fail(tmp_path: Path) -> None:
    models = TextFolder(tmp_path)
    models.write("m", 2)
    choose(tmp_path, "1")
    models.repository.load()
    with pytest.raises(UnknownModel, match=r"chosen for model 'm' is not served; version 2 is: name one of them"):
        models.repository.catalog.find("m", 0)
    assert models.repository.catalog.find("m", 2).version == 2


@pytest.mark.parametrize("version", ["1", "4", "9"])
def test_while_the_server_runs_a_version_that_is_not_served_is_not_taken(
    models: TextFolder, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A slip must not take the model from its callers."""
    models.path("m", 1).unlink()
    models.write("m", 4, "bad")
    choose(models.folder, "2")
    models.repository.load()
    choose(models.folder, version)
    models.refresh(times=5)
    assert default(models) == 2
    assert (
        f"version {version}, which default-version names, is not served, or not yet; requests that name no version get "
        "version 2"
    ) in caplog.text
    if version != "4":
        models.write("m", int(version), "good")
        models.refresh(times=3)
        assert default(models) == int(version)


def test_the_served_version_is_removed_though_it_is_chosen(models: TextFolder) -> None:
    choose(models.folder, "2")
    models.repository.load()
    models.path("m", 2).unlink()
    models.refresh(times=3)
    assert default(models) == 1


def test_a_rollback_leaves_no_gap_while_another_model_loads(models: TextFolder) -> None:
    """Each model's choice comes into force with its versions."""
    models.write("a", 1)
    models.repository.load()
    seen: list[int] = []
    models.while_loading = lambda: seen.append(default(models))
    models.write("a", 2)
    choose(models.folder, "2")
    models.refresh()
    assert seen == [3, 3], "while a/2 and m/2 were loaded"
    assert default(models) == 2


def test_a_folder_that_is_away_for_one_look_keeps_its_choice(models: TextFolder) -> None:
    models.write("other", 1)
    choose(models.folder, "2")
    models.repository.load()
    (models.folder / "m").rename(models.folder.parent / "away")
    models.refresh(times=1)
    (models.folder.parent / "away").rename(models.folder / "m")
    for _ in range(4):
        assert default(models) == 2
        models.refresh(times=1)


def test_it_is_no_model(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    choose(models.folder, "3")
    models.repository.load()
    assert "passed over" not in caplog.text


def test_callers_get_and_see_the_chosen_version(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    write_echo_model(tmp_path, "m", version=1)
    write_echo_model(tmp_path, "m", version=2)
    write_echo_model(tmp_path, "n")
    choose(tmp_path, "1")
    server = start_server(tmp_path, default_model="n")
    pixels = pb.Pixels(data=bytes(16))
    assert server.classify(pb.ClassifyRequest(model="m", pixels=pixels)).version == 1
    assert server.classify(pb.ClassifyRequest(model="m", version=2, pixels=pixels)).version == 2
    assert cli.main(["models", "--target", server.target]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    remarks = {f"{row[0]}/{row[1]}": " ".join(row[row.index("cpu") + 1 :]) for row in rows}
    assert remarks == {"n/1": "default", "m/1": "default version", "m/2": ""}


# --max-accuracy-loss: what becomes the default version where nobody has chosen.


@pytest.mark.parametrize(
    ("accuracies", "served", "default", "held_back"),
    [
        ({1: 0.957, 2: 0.796}, 1, 1, 2),
        ({1: 0.957, 2: 0.796}, None, 1, 2),
        ({1: 0.957, 2: 0.796}, 2, 2, None),  # it is the served one already
        ({1: 0.957, 2: 0.938}, 1, 2, None),  # 0.019 less
        ({1: 0.957, 2: 0.99}, 1, 2, None),
        ({1: 0.957, 2: 0.796, 3: 0.95}, 1, 3, None),
        ({1: 0.957, 2: 0.796, 3: 0.8}, 1, 1, 3),
        ({1: 0.957, 2: 0.94, 3: 0.925}, 1, 3, None),  # each step by itself
        ({1: 0.957, 2: 0.0}, 1, 2, None),  # its file does not say
        ({1: 0.0, 2: 0.796}, 1, 2, None),
        ({2: 0.796}, 1, 2, None),
    ],
)
def test_which_version_is_accurate_enough(
    accuracies: dict[int, float], served: int | None, default: int, held_back: int | None
) -> None:
    found, back = accuracy.choose(accuracies, served, max_loss=0.02)
    assert (found, None if back is None else back.version) == (default, held_back)


def test_a_less_accurate_version_is_served_by_number_only(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    def answering() -> int:
        return server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16)))).version

    write_echo_model(tmp_path, "m", version=1, test_accuracy=0.957)
    server = start_server(tmp_path, max_accuracy_loss=0.02)
    repository = server.app.repository
    write_echo_model(tmp_path, "m", version=2, test_accuracy=0.796)
    for _ in range(4):
        repository.refresh()
    assert answering() == 1
    assert server.classify(pb.ClassifyRequest(version=2, pixels=pb.Pixels(data=bytes(16)))).version == 2
    assert repository.held_back == 1
    assert (
        caplog.text.count("model m: version 2 does not become the default one: its file says an accuracy of 79.60%")
        == 1
    )
    server = start_server(tmp_path, max_accuracy_loss=0.02)
    assert answering() == 1, "a restart finds the same"
    repository = server.app.repository
    choose(tmp_path, "2")
    for _ in range(3):
        repository.refresh()
    assert (answering(), repository.held_back) == (2, 0)


@pytest.mark.parametrize(
    ("which", "effect"), [("shadow", "nothing runs in the shadow"), ("canary", "no caller gets a canary")]
)
@pytest.mark.parametrize("at_start", [True, False])
def test_a_shadow_or_canary_that_is_not_served_is_told_once(
    models: TextFolder, which: str, effect: str, at_start: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file = models.folder / "m" / f"{which}-version"
    if at_start:
        file.write_text("9")
    models.repository.load()
    file.write_text("9")
    models.refresh(times=5)
    text = f"model m: version 9, which {which}-version names, is not served, or not yet; {effect}"
    assert [each.message for each in caplog.records if "not served" in each.message] == [text]
    models.write("m", 9, "good")
    models.refresh(times=3)
    models.path("m", 9).unlink()
    models.refresh(times=3)
    assert caplog.text.count(text) == 2, "it was there meanwhile"
