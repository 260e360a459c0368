"""The file `canary-version`, as the repository follows it; who gets a canary; and the files that a decision writes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server.models.reloading import TextFolder

from covey_server.models import choice_files
from covey_server.models.canary import Canary
from covey_server.models.choosing import Choosing


@pytest.fixture
def models(tmp_path: Path) -> TextFolder:
    """A folder whose versions 1, 2 and 3 are good, 3 the canary beside 2."""
    found = TextFolder(tmp_path)
    for version in (1, 2, 3):
        found.write("m", version)
    choose(found, "default", "2")
    choose(found, "canary", "3")
    return found


def choose(models: TextFolder, which: str, text: str) -> None:
    (models.folder / "m" / f"{which}-version").write_text(text)


def files(models: TextFolder) -> dict[str, str]:
    """What the files of choices say; nothing else lies beside the versions."""
    return {path.name: path.read_text() for path in (models.folder / "m").iterdir() if path.is_file()}


def default(models: TextFolder) -> int:
    return models.repository.catalog.find("m", 0).version


def canary(models: TextFolder) -> Canary:
    return models.repository.catalog.canaries["m"]


def test_it_is_served_beside_the_default_version_and_gets_nobody_at_first(models: TextFolder) -> None:
    models.repository.load()
    assert models.served() == ["m/3 good", "m/2 good"]
    assert default(models) == 2
    assert canary(models).version == 3
    assert models.repository.catalog.canaries[""] is canary(models), "for requests that name no model"
    assert not any(canary(models).takes(str(key)) for key in range(100))


def test_another_file_of_its_version_gets_nobody_until_it_is_checked_too(models: TextFolder) -> None:
    models.repository.load()
    first = canary(models)
    first.begin(1)
    models.write("m", 2, "another default one")
    models.refresh()
    assert canary(models) is first
    models.write("m", 3, "another")
    models.refresh()
    assert models.served() == ["m/3 another", "m/2 another default one"]
    assert not canary(models).takes("anybody")
    first.begin(1)  # by whoever was still at the checks of the first file
    assert not canary(models).takes("anybody")
    canary(models).begin(1)
    models.repository.unload_model("m")
    models.repository.load_model("m")
    assert not canary(models).takes("anybody")


@pytest.mark.parametrize(("version", "highest"), [("3", 2), ("2", 3), ("1", 3)])
def test_without_a_default_version_the_highest_other_one_is_it(models: TextFolder, version: str, highest: int) -> None:
    (models.folder / "m" / "default-version").unlink()
    choose(models, "canary", version)
    models.repository.load()
    assert (default(models), canary(models).version) == (highest, int(version))


def test_alone_it_is_the_default_version_and_no_canary(tmp_path: Path) -> None:
    models = TextFolder(tmp_path)
    models.write("m", 1)
    choose(models, "canary", "1")
    models.repository.load()
    assert default(models) == 1
    assert models.repository.catalog.canaries == {}


@pytest.mark.parametrize("text", ["2", "9", "three", "3\n2"])
def test_the_default_version_itself_one_that_is_missing_and_nonsense_are_no_canary(
    models: TextFolder, text: str
) -> None:
    choose(models, "canary", text)
    models.repository.load()
    assert models.repository.catalog.canaries == {}
    assert default(models) == 2


def test_it_is_the_same_canary_until_the_file_changes(models: TextFolder) -> None:
    models.repository.load()
    first = canary(models)
    models.write("m", 4)
    models.refresh(3)
    assert canary(models) is first
    choose(models, "canary", "4")
    models.refresh()
    assert canary(models).version == 4
    (models.folder / "m" / "canary-version").unlink()
    models.refresh(3)
    assert models.repository.catalog.canaries == {}
    assert models.served() == ["m/4 good", "m/2 good"]


@pytest.mark.parametrize(("outcome", "expected"), [("promoted", 3), ("rolled_back", 2)])
def test_what_was_decided_holds_though_the_files_cannot_be_written(
    models: TextFolder, outcome: str, expected: int
) -> None:
    (models.folder / "m" / "default-version").unlink()
    models.repository.load()
    found = canary(models)
    found.begin(0.5)
    found.end(outcome)  # type: ignore[arg-type]
    assert found.takes("anybody") == (outcome == "promoted"), "at once"
    models.refresh(3)
    assert default(models) == expected
    assert models.repository.catalog.canaries == {}
    choose(models, "canary", "1")
    models.refresh(3)
    assert canary(models).version == 1, "a new canary is judged anew"
    assert default(models) == 3, "the highest: nobody has chosen one"


def test_one_that_a_rule_has_just_taken_away_may_be_chosen_again(models: TextFolder) -> None:
    models.repository.load()
    canary(models).end("rolled_back")
    assert choice_files.roll_back_canary(models.folder, "m", 3, 2)
    assert Choosing(models.repository).canary("m", 3) == ("m", 2, 3, 0)
    assert canary(models).outcome == ""


def test_a_canary_that_has_ended_does_not_begin_again() -> None:
    found = Canary("m", 3)
    found.end("rolled_back")
    found.begin(1.0)
    assert not found.takes("anybody")


def test_the_share_of_the_keys_and_which_they_are() -> None:
    found, other = Canary("m", 3), Canary("m", 4)
    for each in (found, other):
        each.begin(0.1)
    keys = [f"127.0.0.1:{port}" for port in range(40_000, 50_000)]
    taken = {key for key in keys if found.takes(key)}
    assert 870 < len(taken) < 1130, "a tenth, and 4 standard deviations"
    of_other = {key for key in keys if other.takes(key)}
    assert len(taken & of_other) < 150, "another canary has other callers"
    found.begin(0.2)
    assert all(map(found.takes, taken)), "a larger share has the same callers, and more"
    found.begin(1.0)
    assert all(map(found.takes, keys))
    found.begin(0.0)
    assert not any(map(found.takes, keys))


def test_another_process_chooses_the_same_callers() -> None:
    """Python's own hash differs between processes."""
    found = Canary("m", 3)
    found.begin(0.5)
    here = [found.takes(f"caller {number} \udcff") for number in range(64)]
    program = (
        "from covey_server.models.canary import Canary; found = Canary('m', 3); found.begin(0.5); "
        "print([found.takes(f'caller {number} \\udcff') for number in range(64)])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(here)


def test_promoted_by_the_files(models: TextFolder) -> None:
    models.repository.load()
    assert choice_files.promote_canary(models.folder, "m", 3, 2)
    assert files(models) == {"default-version": "3\n2\n"}
    models.refresh(3)
    assert default(models) == 3
    assert models.repository.catalog.canaries == {}
    assert choice_files.read(models.folder / "m" / "default-version")[1] == 2
    again = TextFolder(models.folder)
    again.repository.load()
    assert default(again) == 3


@pytest.mark.parametrize("is_chosen", [True, False])
def test_rolled_back_by_the_files(models: TextFolder, is_chosen: bool) -> None:
    """Without a default version the canary would be it, as the highest."""
    if not is_chosen:
        (models.folder / "m" / "default-version").unlink()
    models.repository.load()
    assert choice_files.roll_back_canary(models.folder, "m", 3, 2)
    assert files(models) == {"default-version": "2" if is_chosen else "2\n"}
    models.refresh(3)
    assert default(models) == 2
    assert models.served() == ["m/3 good", "m/2 good"], "it is served by its number"


@pytest.mark.parametrize("text", ["4", None])
def test_only_one_decides(models: TextFolder, text: str | None) -> None:
    if text is None:
        (models.folder / "m" / "canary-version").unlink()
    else:
        choose(models, "canary", text)
    before = files(models)
    assert not choice_files.promote_canary(models.folder, "m", 3, 2)
    assert not choice_files.roll_back_canary(models.folder, "m", 3, 2)
    assert files(models) == before


def test_a_decision_that_cannot_be_written_changes_nothing(models: TextFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(models)

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(choice_files, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        choice_files.promote_canary(models.folder, "m", 3, 2)
    assert files(models) == before


@pytest.mark.parametrize("decide", ["promote_canary", "roll_back_canary"])
@pytest.mark.parametrize("other", [None, "1"])
def test_one_that_a_killed_process_was_deciding_about_is_there_again_after_a_restart(
    models: TextFolder, decide: str, other: str | None
) -> None:
    (models.folder / "m" / "default-version").unlink()  # which a roll back would write
    code = (
        "import os, pathlib, signal\n"
        "from covey_server.models import choice_files\n"
        "choice_files.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"choice_files.{decide}(pathlib.Path({str(models.folder)!r}), 'm', 3, 2)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert not (models.folder / "m" / "canary-version").exists()
    if other is not None:
        choose(models, "canary", other)
    models.repository.load()
    assert files(models) == {"canary-version": other or "3"}
    assert canary(models).version == int(other or 3)
    assert default(models) == (3 if other else 2)


@pytest.mark.parametrize(
    ("text", "found"), [("3", (3, None)), ("3\n", (3, None)), ("3\n2\n", (3, 2)), (" 3 \n 2 ", (3, 2))]
)
def test_the_default_version_and_the_one_before(tmp_path: Path, text: str, found: tuple[int, int | None]) -> None:
    path = tmp_path / "default-version"
    path.write_text(text)
    assert choice_files.read(path) == found


@pytest.mark.parametrize("text", ["3\n2\n1", "3\nx", "3 2", "x\n2", "\n3"[:1]])
def test_other_text_is_no_choice(tmp_path: Path, text: str) -> None:
    path = tmp_path / "default-version"
    path.write_text(text)
    with pytest.raises(ValueError, match="expected the number of a version"):
        choice_files.read(path)


def test_a_file_that_cannot_be_put_back_stays_whole(tmp_path: Path) -> None:
    """As on a full disk: here no file may have a byte."""
    path = tmp_path / "default-version"
    path.write_text("3\n2\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            choice_files.restore(path, b"2\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("default-version", "3\n2\n")]
