"""The file of limits: what is taken, what is refused and why, and that it is followed."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from covey_server.calls.account import Allowance
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration
from covey_server.fronts.security import Security
from covey_server.fronts.security.limits_file import LimitsFile, _read

DIGEST = "0123456789ab"
GOOD = f"""
[default]
requests_per_s = 50

["token:{DIGEST}"]
requests_per_s = 0.5
images_per_s = 2000
in_flight = 16
priority = "batch"

[camera]
principals = ["token:ffffffffffff", "certificate:CN=camera-7,O=Example"]
"""


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "limits.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_table_is_of_the_principal_it_is_named_after_or_of_those_it_lists(tmp_path: Path) -> None:
    found = _read(write(tmp_path, GOOD))
    assert found.default == Allowance(requests_per_s=50)
    assert found.tables == {f"token:{DIGEST}": Allowance(0.5, 2000, 16, "batch"), "camera": Allowance()}
    assert found.table_of == {
        f"token:{DIGEST}": f"token:{DIGEST}",
        "token:ffffffffffff": "camera",
        "certificate:CN=camera-7,O=Example": "camera",
    }
    assert _read(write(tmp_path, "")).default == Allowance()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[default]\nrequests = 5", (r"\[default\] has the key 'requests'; known are requests_per_s, images_per_s, "
         r"in_flight, priority$")),
        (f'["token:{DIGEST}"]\nburst = 1', r"has the key 'burst'; known are .*, priority, principals$"),
        ('[default]\nprincipals = ["token:0123456789ab"]', "has the key 'principals'; known are"),
        ("[default]\nrequests_per_s = 0", "requests_per_s is 0; expected a number from 1e-06 to 1e\\+09"),
        ("[default]\nrequests_per_s = 1e-300", r"requests_per_s is 1e-300; expected a number from 1e-06 to 1e\+09"),
        ("[default]\nimages_per_s = 1" + "0" * 400, r"images_per_s is 10+; expected a number from 1e-06 to 1e\+09"),
        ("[default]\nimages_per_s = inf", "images_per_s is inf; expected a number from 1e-06 to 1e\\+09"),
        ("[default]\nimages_per_s = nan", "images_per_s is nan; expected a number from 1e-06 to 1e\\+09"),
        ("[default]\nimages_per_s = true", "images_per_s is True; expected a number from 1e-06 to 1e\\+09"),
        ('[default]\nimages_per_s = "5"', "images_per_s is '5'; expected a number from 1e-06 to 1e\\+09"),
        ("[default]\nin_flight = 1.5", "in_flight is 1.5; expected a whole number of at least 1"),
        ("[default]\nin_flight = 0", "in_flight is 0; expected a whole number of at least 1"),
        ('[default]\npriority = "high"', 'priority is \'high\'; expected "interactive" or "batch"'),
        ("[default]\npriority = []", "priority is \\[\\]; expected"),
        ("requests_per_s = 5", r"requests_per_s stands in no table; expected \[default\] or the table of a principal"),
        ("[camera]\nin_flight = 1", r"\[camera\] names no principal and has no principals; expected token: and the"),
        ('["token:0123456789AB"]', "names no principal and has no principals; expected token: and the first 12"),
        ("[camera]\nprincipals = []", "expected a list of at least one"),
        ("[camera]\nprincipals = 'token:0123456789ab'", "expected a list of at least one"),
        ("[camera]\nprincipals = ['token:secret']", "'token:secret' is none; expected token: and the first 12 digits"),
        ("[camera]\nprincipals = [5]", "5 is none; expected"),
        (f'[camera]\nprincipals = ["token:{DIGEST}"]\n["token:{DIGEST}"]',
         rf"'token:{DIGEST}' is in \[camera\] and in \[token:{DIGEST}\]; expected it once"),
        ('[other]\nprincipals = ["token:0123456789ab"]', r"\[other\] is how metrics name principals without a table"),
        ("[default", "it is not TOML: "),
        (b"[default]\n# \xff", "it is not UTF-8"),
        ("".join(f"[t{number}]\n" for number in range(1001)), "it has 1,001 tables; at most 1,000 are taken"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_mistake(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidConfiguration, match=rf"^--limits-file {path}: .*{said}"):
        Security.of(Config(limits_file=str(path)))


def test_a_server_with_a_wrong_file_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "covey_server", "--limits-file", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"--limits-file {tmp_path / 'none'}: it cannot be read: No such file" in done.stderr


def test_others_have_limits_by_the_default_table_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        LimitsFile(write(tmp_path, "[camera]\nprincipals = ['token:ffffffffffff']\nin_flight = 1\n"))
    assert "limits of 1 principal and none of others, by" in caplog.text


def test_a_changed_file_is_taken_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, GOOD)
    with caplog.at_level(logging.INFO):
        file = LimitsFile(path)
        assert "limits of 3 principals and of all others, by" in caplog.text
        write(tmp_path, GOOD.replace("camera]", "front-door]"))
        file.refresh()
        assert "camera" in file.limits.names, "it may still be being written"
        file.refresh()
        assert file.limits.names == {f"token:{DIGEST}", "front-door", "other"}
        write(tmp_path, GOOD + "what = 5")
        for _ in range(3):
            file.refresh()
        assert "front-door" in file.limits.names
        (error,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert error.endswith("principals; the limits read before stay")
        path.unlink()
        for _ in range(3):
            file.refresh()
        assert "front-door" in file.limits.names
        write(tmp_path, "[default]")
        for _ in range(2):
            file.refresh()
        assert file.limits.names == {"other"}


def test_limits_of_callers_whom_nobody_asks_who_they_are_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, tokens = write(tmp_path, GOOD), tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text("good\n")
    assert Security.of(Config(limits_file=str(path), auth_token_file=str(tokens))).followed
    assert "callers need neither" not in caplog.text
    assert Security.of(Config(limits_file=str(path))).followed
    assert "callers need neither a token nor a certificate, so that [default] holds for all of them" in caplog.text


def test_tables_of_tokens_that_are_not_valid_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start, and again whenever the tokens or the limits change, but not when a permission does."""

    def warnings() -> list[str]:
        found = [each.getMessage() for each in caplog.records if "which no valid token has" in each.getMessage()]
        caplog.clear()
        return found

    def name(token: str) -> str:
        return f"token:{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text("one\ntwo\n")
    limits = write(
        tmp_path,
        f'[default]\n["{name("one")}"]\n[shop]\nprincipals = ["{name("two")}", "{name("three")}", "certificate:CN=x"]',
    )
    security = Security.of(Config(limits_file=str(limits), auth_token_file=str(tokens)))
    (said,) = warnings()
    assert said == (
        f"--limits-file {limits}: [shop] is for {name('three')}, which no valid token has, so that this limits nobody; "
        f"valid tokens are {', '.join(sorted([name('one'), name('two')]))}"
    )
    tokens.chmod(0o640)
    limits.chmod(0o600)
    security.refresh()
    security.refresh()
    assert warnings() == []
    tokens.write_text("two\nthree\n")
    security.refresh()
    security.refresh()
    (said,) = warnings()
    assert f": [{name('one')}] is for {name('one')}, which no valid token has" in said
    write(tmp_path, f'["{name("two")}"]')
    security.refresh()
    security.refresh()
    assert warnings() == []
    write(tmp_path, f'["{name("one")}"]')
    security.refresh()
    security.refresh()
    assert len(warnings()) == 1
    Security.of(Config(limits_file=str(limits)))
    (said,) = warnings()
    assert said.endswith("valid tokens are none")


def test_only_so_many_names_are_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, GOOD)
    LimitsFile(tmp_path / "limits.toml").warn_of_unknown({f"token:{number:012x}" for number in range(23)})
    assert caplog.text.count("token:000000000013 and 3 more\n") == 2
