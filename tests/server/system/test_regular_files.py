"""Whatever lies in the place of a file: regular files are read, everything else is refused by name, at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.conftest import WriteModel

from covey_server.errors import InvalidConfiguration, RefusedModel
from covey_server.fronts.security.tokens import Tokens
from covey_server.inference.devices import CPU
from covey_server.inference.engine import Engine, require_loadable
from covey_server.inference.model_loader import ModelLoader
from covey_server.models.repository import Repository
from covey_server.models.version_policy import VersionPolicy
from covey_server.observability.metrics import Metrics
from covey_server.system.memory_limit import Room
from covey_server.system.regular_files import read_regular


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


KINDS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": _make_socket,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_as_a_model_and_as_tokens(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    KINDS[kind](path)
    with pytest.raises(RefusedModel, match=f"model.onnx: cannot be read: it is {kind}, expected a regular file"):
        Engine(path)
    with pytest.raises(InvalidConfiguration, match=f"it cannot be read: it is {kind}, expected a regular file"):
        Tokens(path)


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, at most 4 are read"):
        read_regular(path, 4)


def test_a_file_larger_than_a_message_can_be_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(100 * 2**30)
    with pytest.raises(RefusedModel, match=r"has 107,374,182,400 bytes; an ONNX file.* at most 2,147,483,647"):
        Engine(path)


def test_a_model_that_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path, mib = tmp_path / "model.onnx", 2**20
    left = Room(500 * mib, "the cgroup's limit of 1,024 MiB", 300 * mib)
    require_loadable(path, 380 * mib, left)
    require_loadable(path, 2000 * mib, None)
    with pytest.raises(
        RefusedModel,
        match=r"loading its 419,430,400 bytes takes about 840 MiB of memory, and less than 1,024 MiB are free here",
    ) as caught:
        require_loadable(path, 400 * mib, left)
    assert isinstance(caught.value.__cause__, OSError), "tried again, though the file does not change"


def test_a_large_file_of_nothing_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31 - 1)
    with pytest.raises(RefusedModel, match=r"onnxruntime cannot load it|less than .* MiB are free here"):
        Engine(path)


def test_a_link_to_a_model_is_followed(tmp_path: Path, write_echo_model: WriteModel) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(write_echo_model(tmp_path))
    assert Engine(link).classes == 10


def test_what_is_no_file_is_refused_once_and_the_others_go_on_reloading(
    tmp_path: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    models = tmp_path / "models"
    write_echo_model(models, "served")
    repository = Repository(
        models, ModelLoader(CPU, 1, 4), VersionPolicy.parse("latest:1"), Metrics(CollectorRegistry())
    )
    repository.load()
    for place, (kind, make) in enumerate(KINDS.items()):
        path = models / f"kind-{place}" / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        make(path)
        assert repository.catalog.refusals == (), kind
    write_echo_model(models, "served", 2)
    for _ in range(4):
        repository.refresh()
    assert [(model.name, model.version) for model in repository.catalog.served] == [("served", 2)]
    assert [refusal.name for refusal in repository.catalog.refusals] == [f"kind-{place}" for place in range(len(KINDS))]
    for kind, refusal in zip(KINDS, repository.catalog.refusals, strict=True):
        assert f"it is {kind}, expected a regular file" in refusal.reason
    refused = [record.getMessage() for record in caplog.records if "is refused" in record.getMessage()]
    assert len(refused) == len(KINDS)


def test_a_model_whose_file_becomes_a_fifo_stays_served(tmp_path: Path, write_echo_model: WriteModel) -> None:
    path = write_echo_model(tmp_path)
    repository = Repository(
        tmp_path, ModelLoader(CPU, 1, 4), VersionPolicy.parse("latest:1"), Metrics(CollectorRegistry())
    )
    repository.load()
    path.unlink()
    os.mkfifo(path)
    for _ in range(3):
        repository.refresh()
    assert repository.catalog.find("echo", 1).version == 1
    assert "a FIFO" in repository.catalog.refusals[0].reason


def test_many_things_that_are_no_models_are_told_in_few_lines(
    tmp_path: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    write_echo_model(tmp_path)
    for number in range(1000):
        (tmp_path / "echo" / f"note {number}.txt").touch()
    repository = Repository(
        tmp_path, ModelLoader(CPU, 1, 4), VersionPolicy.parse("latest:1"), Metrics(CollectorRegistry())
    )
    repository.load()
    repository.refresh()
    told = [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]
    assert len(told) == 21
    assert told[-1] == f"980 more are passed over in {tmp_path}"
