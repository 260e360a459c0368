"""What a server says of a network that Covey did not make names the command that takes it: run as it stands."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

import onnx
import pytest
from prometheus_client import CollectorRegistry
from tests.export.importing.onnx_models import small_cnn

from covey_export.__main__ import main
from covey_proto import metadata
from covey_server.config import Config
from covey_server.errors import StartupError
from covey_server.models.loading import RepositoryObserver
from covey_server.observability.metrics import Metrics
from covey_server.resources import open_repository


def said_of(models: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The commands that a server names which can serve nothing of the folder."""
    caplog.clear()
    with caplog.at_level(logging.WARNING), pytest.raises(StartupError):
        open_repository(Config(models=models), observer())
    return [message[message.index("covey import") :] for message in caplog.messages if "covey import" in message]


def observer() -> RepositoryObserver:
    return Metrics(CollectorRegistry())


def relabelled(folder: Path) -> onnx.ModelProto:
    """A model of Covey's whose labels were lost."""
    (folder / "network.onnx").write_bytes(small_cnn().SerializeToString())
    assert main(["import", str(folder / "network.onnx"), "--models", str(folder / "once")]) == 0
    made = onnx.load(folder / "once/network/1/model.onnx")
    info = metadata.from_json(made.metadata_props[0].value)
    del info.labels[3:]
    made.metadata_props[0].value = metadata.to_json(info)
    return made


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("net/1/model.onnx", "net"),
        ("net/1/my network.onnx", "net"),
        ("net/network.onnx", "net"),
        ("my network.onnx", "my-network"),
        ("network.onnx", "network"),
    ],
)
def test_a_foreign_network(place: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = tmp_path / "my models"
    (models / place).parent.mkdir(parents=True)
    (models / place).write_bytes(small_cnn().SerializeToString())
    (command,) = set(said_of(models, caplog))
    assert main(shlex.split(command)[1:]) == 0
    _, repository, _ = open_repository(Config(models=models), observer())
    assert [model.name for model in repository.catalog.served] == [name]


def test_a_model_with_wrong_metadata(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = tmp_path / "models"
    (models / "net/1").mkdir(parents=True)
    (models / "net/1/model.onnx").write_bytes(relabelled(tmp_path).SerializeToString())
    (command,) = said_of(models, caplog)
    assert main([*shlex.split(command)[1:], "--labels", "a,b,c,d,e"]) == 0
    _, repository, _ = open_repository(Config(models=models), observer())
    assert [model.labels for model in repository.catalog.served] == [tuple("abcde")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "Expected an ONNX file; it is empty. Copy it again"),
        (
            small_cnn().SerializeToString()[:300],
            "its 300 bytes begin as one: it is truncated or damaged. Copy it again",
        ),
    ],
)
def test_a_damaged_file_is_to_be_copied_again(
    content: bytes, expected: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And not to be imported, since nothing is left to import."""
    models = tmp_path / "models"
    (models / "net/1").mkdir(parents=True)
    (models / "net/1/model.onnx").write_bytes(content)
    assert said_of(models, caplog) == []
    assert expected in caplog.text


def test_a_file_that_is_no_network(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    (models / "net/1").mkdir(parents=True)
    (models / "net/1/model.onnx").write_bytes(b"<html>404</html>")
    (command,) = said_of(models, caplog)
    assert main(shlex.split(command)[1:]) == 2
    assert "expected an ONNX file" in capsys.readouterr().err
