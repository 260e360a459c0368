"""Loading models at the start: what is served, what is refused, and what each refusal says."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.conftest import WriteModel

from covey_proto import metadata
from covey_server.errors import DeviceUnavailable, NoModels, UnknownModel
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import RefusedVersion
from covey_server.models.repository import Repository
from covey_server.models.version_policy import VersionPolicy


class Refusals:
    """Remembers what was refused."""

    def __init__(self) -> None:
        self.told: list[RefusedVersion] = []

    def model_loaded(self, model: ServedModel, load_s: float) -> None:
        pass

    def model_refused(self, refusal: RefusedVersion) -> None:
        self.told.append(refusal)

    def model_unloaded(self, name: str, version: int) -> None:
        pytest.fail("nothing is unloaded at the start")

    def model_retired(self, name: str, version: int) -> None:
        pytest.fail("nothing is retired at the start")


def load(folder: Path, default: str = "", policy: str = "latest:1") -> Repository:
    refusals = Refusals()
    repository = Repository(folder, ModelLoader(CPU, 1, 4), VersionPolicy.parse(policy), refusals)
    repository.load(default)
    assert sorted(refusals.told, key=str) == sorted(repository.catalog.refusals, key=str)
    return repository


def test_serves_the_highest_version(tmp_path: Path, write_echo_model: WriteModel) -> None:
    for version in (2, 10, 9):
        write_echo_model(tmp_path, version=version)
    repository = load(tmp_path)
    model = repository.catalog.find("echo", 0)
    assert model.version == 10
    assert repository.catalog.find("", 10) is model
    assert model.labels[3] == "class 3"
    assert model.run(np.full((2, 4, 4, 1), 255, np.uint8)).tolist() == [[1.0] * 10] * 2


def test_falls_back_to_the_next_version_that_is_good(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, version=1)
    write_echo_model(tmp_path, version=2).write_bytes(b"not a model")
    repository = load(tmp_path)
    assert repository.catalog.find("echo", 0).version == 1
    assert [(each.version, "cannot load" in each.reason) for each in repository.catalog.refusals] == [(2, True)]


def foreign_model() -> bytes:
    """A model of another contract: float32 NCHW in, logits out."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def test_names_each_refused_model_and_serves_the_others(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, "good")
    write_echo_model(tmp_path, "corrupt").write_bytes(b"\x08\x08garbage")
    write_echo_model(tmp_path, "truncated").write_bytes(write_echo_model(tmp_path, "truncated").read_bytes()[:200])
    write_echo_model(tmp_path, "foreign").write_bytes(foreign_model())
    write_echo_model(tmp_path, "bare", info=False)
    write_echo_model(tmp_path, "skewed", wrong_golden=True)
    write_echo_model(tmp_path, "careless", wrong_golden=True, tolerance=float("inf"))
    write_echo_model(tmp_path, "empty").unlink()
    relabelled = onnx.load(str(write_echo_model(tmp_path, "relabelled")))
    info = metadata.from_json(relabelled.metadata_props[0].value)
    del info.labels[3:]
    relabelled.metadata_props[0].value = metadata.to_json(info)
    (tmp_path / "relabelled/1/model.onnx").write_bytes(relabelled.SerializeToString())
    frozen = onnx.load(str(write_echo_model(tmp_path, "frozen")))
    flat = next(constant for constant in frozen.graph.initializer if constant.name == "flat")
    flat.CopyFrom(numpy_helper.from_array(np.array([1, 16]), "flat"))  # a batch of one, whatever the signature says
    (tmp_path / "frozen/1/model.onnx").write_bytes(frozen.SerializeToString())
    garbled = bytearray((tmp_path / "good/1/model.onnx").read_bytes())
    at = garbled.index(b"covey.model_info") + 40
    garbled[at : at + 4] = b"\xff\xfe\xff\xfe"
    write_echo_model(tmp_path, "garbled")
    (tmp_path / "garbled/1/model.onnx").write_bytes(garbled)
    (tmp_path / "README.txt").write_text("not a model")
    (tmp_path / ".partial").mkdir()
    for version in ("latest", "01", "0", "-1", "99999999999999999999"):
        (tmp_path / "unversioned" / version).mkdir(parents=True)

    repository = load(tmp_path)

    assert [model.name for model in repository.catalog.served] == ["good"]
    reasons = {refusal.name: refusal.reason for refusal in repository.catalog.refusals}
    assert set(reasons) == {
        "corrupt",
        "truncated",
        "garbled",
        "foreign",
        "bare",
        "skewed",
        "empty",
        "relabelled",
        "frozen",
        "careless",
    }
    assert "cannot load" in reasons["corrupt"]
    assert "expected images: tensor(uint8)" in reasons["foreign"]
    assert "found x: tensor(float) [1, 3, 4, 4]" in reasons["foreign"]
    assert "no covey.model_info" in reasons["bare"]
    for name in ("corrupt", "truncated"):
        assert reasons[name].endswith("begin as one: it is truncated or damaged. Copy it again, or convert it again")
    for name in ("foreign", "bare", "relabelled"):
        assert f"covey import {tmp_path}/{name}/1/model.onnx --name {name} --models {tmp_path}" in reasons[name]
    assert "expected metadata in UTF-8, found byte 0xff at " in reasons["garbled"]
    assert "golden set: probabilities differ" in reasons["skewed"]
    assert reasons["empty"] == "its folder holds no model.onnx"
    assert "3 labels, the graph has 10 classes" in reasons["relabelled"]
    assert "a tolerance of inf; expected above 0" in reasons["careless"]
    assert "probabilities: tensor(float) [1, 10]" in reasons["frozen"]
    with pytest.raises(UnknownModel, match="found and refused: version 1: golden set"):
        repository.catalog.find("skewed", 0)


def test_an_empty_or_missing_folder_says_how_to_make_a_model(tmp_path: Path) -> None:
    with pytest.raises(NoModels, match=r"holds no NAME/VERSION/model\.onnx") as caught:
        load(tmp_path)
    assert "covey export all lenet" in str(caught.value)
    with pytest.raises(NoModels, match="cannot be read: No such file or directory"):
        load(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(NoModels, match="cannot be read: Not a directory"):
        load(tmp_path / "file")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_folders_that_may_not_be_read_are_named(tmp_path: Path, write_echo_model: WriteModel) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    write_echo_model(tmp_path, "good")
    write_echo_model(tmp_path, "secret")
    (tmp_path / "secret").chmod(0)
    with as_nobody():
        repository = load(tmp_path)
        assert [model.name for model in repository.catalog.served] == ["good"]
        assert [(each.name, each.reason) for each in repository.catalog.refusals] == [
            ("secret", "its folder cannot be read: Permission denied")
        ]
    tmp_path.chmod(0)
    with as_nobody(), pytest.raises(NoModels, match="cannot be read: Permission denied"):
        load(tmp_path)
    tmp_path.chmod(0o755)


def test_nothing_but_bad_models_lists_every_reason(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, "skewed", wrong_golden=True)
    with pytest.raises(NoModels, match="skewed/1: golden set"):
        load(tmp_path)


def test_unknown_names_and_versions_are_told_what_there_is(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, "one")
    write_echo_model(tmp_path, "two", version=3)
    repository = load(tmp_path)
    with pytest.raises(UnknownModel, match="model 'three' is not served here; these are: one, two"):
        repository.catalog.find("three", 0)
    with pytest.raises(UnknownModel, match="version 1 of model 'two' is not served; version 3 is"):
        repository.catalog.find("two", 1)
    with pytest.raises(UnknownModel, match="names no model and this server has no default"):
        repository.catalog.find("", 0)
    assert load(tmp_path, default="two").catalog.find("", 0).name == "two"
    with pytest.raises(NoModels, match="--default-model 'three' is not served"):
        load(tmp_path, default="three")


def test_all_versions_can_be_served(tmp_path: Path, write_echo_model: WriteModel) -> None:
    for version in (1, 2, 3):
        write_echo_model(tmp_path, version=version, classes=version, wrong_golden=version == 2)
    repository = load(tmp_path, policy="all")
    assert [model.version for model in repository.catalog.served] == [3, 1]
    assert [len(repository.catalog.find("echo", version).labels) for version in (0, 1, 3)] == [3, 1, 3]
    with pytest.raises(UnknownModel, match=r"version 2 .* refused: golden set: .*; versions 3 and 1 are"):
        repository.catalog.find("echo", 2)


def test_a_device_that_goes_away_ends_the_start_and_later_refuses_one_model(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    lost = False
    on_cpu = ModelLoader(CPU, 1, 4)

    def load_model(name: str, version: int, path: Path) -> ServedModel:
        if lost:
            raise DeviceUnavailable("device cuda:0: no such device")
        return on_cpu(name, version, path)

    write_echo_model(tmp_path)
    repository = Repository(tmp_path, load_model, VersionPolicy(), Refusals())
    repository.load()
    lost = True
    write_echo_model(tmp_path, version=2)
    repository.refresh()
    repository.refresh()
    assert repository.catalog.refusals == (RefusedVersion("echo", 2, "device cuda:0: no such device"),)
    assert repository.catalog.find("", 0).version == 1
    with pytest.raises(DeviceUnavailable, match="no such device"):
        Repository(tmp_path, load_model, VersionPolicy(), Refusals()).load()
