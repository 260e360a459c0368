"""The tables from errors to status codes are total."""

from __future__ import annotations

import grpc
import pytest

from covey_server import errors
from covey_server.calls import status


def raised(kind: type[errors.RequestError] = errors.RequestError) -> set[type[errors.RequestError]]:
    """All kinds but the one of which only subclasses are raised."""
    found = set(kind.__subclasses__())
    for each in kind.__subclasses__():
        found |= raised(each)
    return found - {errors.UndecodableImage}


def made(kind: type[errors.RequestError]) -> errors.RequestError:
    if issubclass(kind, errors.UndecodableImage):
        return kind("what happened", "damaged")
    return kind("what happened")


def test_every_request_error_has_a_code_that_grpc_knows_by_the_same_name() -> None:
    kinds = raised()
    assert set(status.CODES) == kinds
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    for kind in kinds:
        found = status.of(made(kind))
        assert found.message == "what happened"
        assert names[found.code] == found.name


def test_every_request_error_has_a_status_of_http_that_says_whose_fault_it_is() -> None:
    assert set(status.HTTP_STATUSES) == raised()
    server_side = {errors.Unsupported, errors.DeadlineTooShort, errors.Expired, errors.Stopping, errors.EngineFailed}
    for kind, http in status.HTTP_STATUSES.items():
        assert status.of(made(kind)).http == http
        assert (http >= 500) == (kind in server_side)
    assert status.of(KeyError("secret")).http == 500


def test_any_other_exception_is_internal_and_says_nothing_of_itself() -> None:
    assert status.of(KeyError("secret")) == status.INTERNAL
    assert status.of(errors.NoModels("secret")) == status.INTERNAL


@pytest.mark.parametrize("character", ["x", "\u00fc", "\u6f22", "\U0001f600"])
def test_a_long_message_is_cut_by_what_it_takes_on_the_wire(character: str) -> None:
    bytes_each = len(character.encode())
    longest = character * (status.MAX_MESSAGE_BYTES // bytes_each)
    assert status.of(errors.InvalidRequest(longest)).message == longest
    for more in range(1, 4):
        assert status.of(errors.InvalidRequest(longest + more * character)).message == f"{longest} ... (cut)"


def test_a_message_that_cannot_be_sent_as_it_is_can_be_sent() -> None:
    name_on_disk = b"mod\xe8le".decode(errors="surrogateescape")
    assert status.of(errors.UnknownModel(name_on_disk)).message == "mod?le"


def test_only_an_overloaded_server_says_when_to_try_again() -> None:
    assert status.of(errors.Overloaded("full", retry_after_ms=12)).trailing_metadata == (("retry-after-ms", "12"),)
    assert status.of(errors.Overloaded("full")).trailing_metadata is None
    assert status.of(errors.Stopping("bye")).trailing_metadata is None
