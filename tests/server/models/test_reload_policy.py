"""How many versions are served, and which model is the default one, while both change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.server.models.reloading import TextFolder

from covey_server.errors import InvalidConfiguration, UnknownModel
from covey_server.models.version_policy import VersionPolicy


@pytest.mark.parametrize(("text", "latest"), [("latest:1", 1), ("latest:12", 12), ("all", None)])
def test_a_policy_is_read_and_written_alike(text: str, latest: int | None) -> None:
    policy = VersionPolicy.parse(text)
    assert (policy.latest, str(policy)) == (latest, text)


@pytest.mark.parametrize("text", ["", "latest", "latest:", "latest:0", "latest:-1", "latest:1.5", "ALL", "3", "all "])
def test_another_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"--version-policy .*: expected latest:N, N a whole .* or all"):
        VersionPolicy.parse(text)


def test_the_highest_that_pass_are_served(tmp_path: Path) -> None:
    models = TextFolder(tmp_path, "latest:2")
    for version, text in ((2, "good"), (9, "good"), (10, "bad"), (3, "good"), (11, "good")):
        models.write("m", version, text)
    models.repository.load()
    assert models.loads == ["m/11", "m/10", "m/9"], "as numbers, and no more than are wanted"
    assert models.served() == ["m/11 good", "m/9 good"]
    assert [models.repository.catalog.find("m", version).version for version in (0, 9, 11)] == [11, 9, 11]
    with pytest.raises(UnknownModel, match=r"version 10 of .*refused: it is bad\); versions 11 and 9 are \(ask for"):
        models.repository.catalog.find("m", 10)
    with pytest.raises(UnknownModel, match=r"version 3 of model 'm' is not served; versions 11 and 9 are"):
        models.repository.catalog.find("m", 3)


def test_latest_n_moves_up_and_down(tmp_path: Path) -> None:
    models = TextFolder(tmp_path, "latest:2")
    models.write("m", 1)
    models.repository.load()
    models.write("m", 2)
    models.write("m", 3)
    models.refresh()
    assert models.served() == ["m/3 good", "m/2 good"]
    models.write("m", 4, "bad")
    models.refresh()
    assert models.served() == ["m/3 good", "m/2 good"]
    assert models.refused() == ["m/4 it is bad"]
    shutil.rmtree(tmp_path / "m" / "3")
    assert models.refresh() == ["loaded m/1 good", "unloaded m/3", "retired m/3"]
    assert models.served() == ["m/2 good", "m/1 good"]
    models.write("m", 5)
    models.write("m", 6)
    assert sorted(models.refresh()) == [
        "loaded m/5 good", "loaded m/6 good", "retired m/1", "retired m/2", "unloaded m/1", "unloaded m/2",
    ]  # fmt: skip
    assert models.refused() == [], "version 4 is below those that are wanted: nobody would try it after a restart"


def test_all_serves_all(tmp_path: Path) -> None:
    models = TextFolder(tmp_path, "all")
    for version in (3, 1, 2):
        models.write("m", version)
    models.repository.load()
    assert models.served() == ["m/3 good", "m/2 good", "m/1 good"]
    models.write("m", 7)
    shutil.rmtree(tmp_path / "m" / "2")
    models.refresh()
    assert models.served() == ["m/7 good", "m/3 good", "m/1 good"]
    assert [
        model.version for model in models.repository.catalog.served if models.repository.catalog.is_default(model)
    ] == [7]


def test_the_default_is_the_only_model_and_stays_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = TextFolder(tmp_path)
    models.write("m", 1)
    models.repository.load()
    models.write("a", 1)
    models.refresh()
    assert models.repository.catalog.find("", 0).name == "m"
    assert "more than one model is served now: requests that name none get m until the server is started anew" in (
        caplog.text
    )
    assert "`--default-model m` (COVEY_DEFAULT_MODEL) lets them go on getting it" in caplog.text
    models.refresh(3)
    assert caplog.text.count("more than one model") == 1

    shutil.rmtree(tmp_path / "m")
    models.refresh()
    assert models.repository.catalog.find("", 0).name == "a"
    assert "requests that name no model get a from now on" in caplog.text


def test_two_models_at_the_start_have_no_default_until_one_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = TextFolder(tmp_path)
    models.write("m", 1)
    models.write("n", 1)
    with caplog.at_level("INFO"):
        models.repository.load()
    assert "requests that name no model fail, since there are several: m, n. `--default-model NAME`" in caplog.text
    with pytest.raises(UnknownModel, match="names no model and this server has no default; name one of: m, n"):
        models.repository.catalog.find("", 0)
    shutil.rmtree(tmp_path / "m")
    models.refresh()
    assert models.repository.catalog.find("", 0).name == "n"
    models.write("b", 1)
    models.write("c", 1)
    models.refresh()
    shutil.rmtree(tmp_path / "n")
    models.refresh()
    assert "requests that name no model fail from now on" in caplog.text
    with pytest.raises(UnknownModel, match="name one of: b, c"):
        models.repository.catalog.find("", 0)


def test_a_default_that_was_asked_for_is_kept_over_its_absence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = TextFolder(tmp_path)
    models.write("m", 1)
    models.write("n", 1)
    models.repository.load("m")
    models.write("m", 2)
    models.refresh()
    assert models.repository.catalog.find("", 0).version == 2
    shutil.rmtree(tmp_path / "m")
    models.refresh()
    assert "the default model m is not there any more" in caplog.text
    with pytest.raises(UnknownModel, match="the default model 'm' is not served here; these are: n"):
        models.repository.catalog.find("", 0)
    models.write("m", 3, "bad")
    models.refresh()
    with pytest.raises(UnknownModel, match=r"the default model 'm' .* refused: version 3: it is bad\)"):
        models.repository.catalog.find("", 0)
    models.write("m", 3)
    models.refresh()
    assert models.repository.catalog.find("", 0).version == 3
