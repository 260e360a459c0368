"""The table from errors to status codes is total."""

from __future__ import annotations

import grpc

from covey_server import errors, status


def subclasses(kind: type[errors.RequestError]) -> set[type[errors.RequestError]]:
    found = set(kind.__subclasses__())
    for each in kind.__subclasses__():
        found |= subclasses(each)
    return found


def test_every_request_error_has_a_code_that_grpc_knows_by_the_same_name() -> None:
    kinds = subclasses(errors.RequestError)
    assert set(status.CODES) == kinds
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    for kind in kinds:
        found = status.of(kind("what happened"))
        assert found.message == "what happened"
        assert names[found.code] == found.name


def test_any_other_exception_is_internal_and_says_nothing_of_itself() -> None:
    assert status.of(KeyError("secret")) == status.INTERNAL
    assert status.of(errors.NoModels("secret")) == status.INTERNAL


def test_only_an_overloaded_server_says_when_to_try_again() -> None:
    assert status.of(errors.Overloaded("full", retry_after_ms=12)).trailing_metadata == (("retry-after-ms", "12"),)
    assert status.of(errors.Overloaded("full")).trailing_metadata is None
    assert status.of(errors.Stopping("bye")).trailing_metadata is None
