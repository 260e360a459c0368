"""The edge's settings, and what it says of those that cannot be used. Needs no nginx."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from deploy.edge.__main__ import main
from deploy.edge.figures import Figures
from deploy.edge.rendering import read_tokens, render
from deploy.edge.settings import InvalidSetting, Settings


def test_settings_come_from_the_environment_and_empty_ones_are_the_default() -> None:
    settings = Settings.of({"COVEY_EDGE_CALLS": "7", "COVEY_EDGE_TOKEN_FILE": "/t", "COVEY_EDGE_CLIENT_CA": ""})
    assert (settings.calls, settings.token_file, settings.client_ca) == (7, Path("/t"), None)
    assert Settings.of({}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("COVEY_EDGE_CALLS", "many"),
        ("COVEY_EDGE_STREAMS", "0"),
        ("COVEY_MAX_MESSAGE_BYTES", "-1"),
        ("COVEY_EDGE_CERTIFICATE", "/a; return 200"),
        ("COVEY_EDGE_LISTEN", "8443 { }"),
    ],
)
def test_what_cannot_be_used_is_named(variable: str, value: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main({variable: value}) == 2
    assert f"{variable}={value}: expected " in capfd.readouterr().err


def test_a_missing_certificate_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none.pem"
    settings = {"COVEY_EDGE_CERTIFICATE": str(missing), "COVEY_EDGE_FOLDER": str(tmp_path)}
    assert main(settings | {"COVEY_EDGE_SERVER": "127.0.0.1:1"}) == 2
    assert f"COVEY_EDGE_CERTIFICATE {missing}: expected a certificate in PEM form" in capfd.readouterr().err


def test_an_unknown_server_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main({"COVEY_EDGE_SERVER": "nobody.invalid:8001", "COVEY_EDGE_FOLDER": str(tmp_path)}) == 2
    assert "COVEY_EDGE_SERVER=nobody.invalid:8001: the name is not known" in capfd.readouterr().err


def test_each_server_gets_a_fifth_of_the_room_for_each_size() -> None:
    text = render(Settings(room_bytes=256 * 10**6, max_message_bytes=64 * 10**6), ["10.0.0.1", "10.0.0.2"], None)
    most = dict(re.findall(r"upstream (\w+) .*?server 10\.0\.0\.1:8001 max_conns=(\d+);", text))
    assert most == {"small": "512", "medium": "51", "large": "5", "larger": "2", "huge": "1"}
    assert text.count("server 10.0.0.2:8001") == 6
    assert "client_max_body_size 64000005;" in text


def test_tokens_are_read_as_the_server_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# a\n\n  abc \nABC\nd.e~f==\n")
    assert read_tokens(file) == ["ABC", "d.e~f=="]
    for content, said in {"": "holds no token", 'a"b\n': "line 1 is no token", "é\n": "cannot be read"}.items():
        file.write_text(content)
        with pytest.raises(InvalidSetting, match=said) as caught:
            read_tokens(file)
        assert 'a"b' not in str(caught.value)


def test_refusals_are_counted_once_each_while_the_log_grows_and_is_emptied(tmp_path: Path) -> None:
    log, page = tmp_path / "log", tmp_path / "page"
    figures = Figures(log, page)
    figures.write(5.0)
    total = 0
    for lines in (1, 150_000, 2, 150_000, 3):
        with log.open("a") as file:
            file.write("token\n" * lines + "tok")
        figures.write(5.0)
        with log.open("a") as file:
            file.write("en\nnonsense\n")
        figures.write(5.0)
        total += lines + 1
        assert f'covey_refused_total{{reason="token"}} {total}\n' in page.read_text()
        assert log.stat().st_size <= 2 * 1024**2
    assert "covey_certificate_expiry_timestamp_seconds 5\n" in page.read_text()
