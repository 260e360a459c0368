"""Flags, environment variables, defaults, and the errors of all three."""

from __future__ import annotations

from dataclasses import fields

import pytest

from covey_server.command_line import parse
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration


def test_defaults_are_the_fields_and_every_field_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse([], {}) == Config()
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for field in fields(Config):
        assert f"--{field.name.replace('_', '-')}" in text
        assert f"COVEY_{field.name.upper()}" in text


def test_a_flag_wins_over_the_environment() -> None:
    environment = {"COVEY_GRPC_PORT": "9001", "COVEY_FRONT": "grpcio", "COVEY_DRAIN_TIMEOUT_S": "2.5"}
    config = parse(["--grpc-port", "9002"], environment)
    assert (config.grpc_port, config.front, config.drain_timeout_s) == (9002, "grpcio", 2.5)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"COVEY_WORKERS": "many"}, "COVEY_WORKERS='many': expected int"),
        ({"COVEY_FRONT": "http"}, "COVEY_FRONT='http': expected one of auto, native, grpcio"),
        ({"COVEY_GRPC_PORT": "70000"}, "--grpc-port 70000: expected 0 to 65535"),
        ({"COVEY_MAX_BATCH_SIZE": "-1"}, "--max-batch-size -1: expected 0 to"),
        ({"COVEY_CHECK": "perhaps"}, "COVEY_CHECK='perhaps': expected 1 or 0"),
    ],
)
def test_wrong_settings_say_what_was_expected(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidConfiguration, match=message):
        parse([], environment)


def test_a_wrong_flag_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--front", "http"], {})
    assert caught.value.code == 2
    assert "invalid choice: 'http'" in capsys.readouterr().err


def test_a_file_is_no_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["net.onnx", "--grpc-port", "9002"], {})
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "'net.onnx' is no option; expected --models DIR, or for a file: covey serve net.onnx" in said
    with pytest.raises(SystemExit):
        parse(["--model-folder", "x"], {})
    assert "unrecognized arguments: --model-folder x" in capsys.readouterr().err


def test_lists_are_given_with_commas_or_by_several_flags() -> None:
    environment = {"COVEY_ALLOWED_HOST": "a.example,b.example"}
    assert parse([], environment).allowed_host == "a.example,b.example"
    said = [
        "--allowed-host",
        "c.example",
        "--allowed-host",
        "d.example,e.example",
        "--cors-origin",
        "https://a.example",
    ]
    assert parse(said, environment).allowed_host == "c.example,d.example,e.example"
    assert parse(said, {}).cors_origin == "https://a.example"
