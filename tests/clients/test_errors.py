"""Every status a call can end with, as the error it is raised as."""

from __future__ import annotations

import pickle
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

import covey
from covey import errors

if TYPE_CHECKING:
    from .conftest import ScriptedServer

KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: covey.InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: covey.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: covey.UnknownModel,
    grpc.StatusCode.RESOURCE_EXHAUSTED: covey.Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: covey.DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: covey.Unavailable,
    grpc.StatusCode.CANCELLED: covey.Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: covey.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: covey.PermissionDenied,
}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_is_one_error_that_tells_the_server_and_its_words(
    server: ScriptedServer, client: covey.Client, code: grpc.StatusCode
) -> None:
    server.fail(code, "the very {words} of the server")
    for call in (lambda: client.classify(b"cat"), client.models, client.model):
        with pytest.raises(covey.CallError, match=re.escape("the very {words} of the server")) as info:
            call()
        error = info.value
        assert type(error) is KINDS.get(code, covey.ServerError)
        assert (error.target, error.status) == (server.target, code.name)
        assert error.details == "the very {words} of the server"
        assert server.target in str(error)
        assert isinstance(error.__cause__, grpc.RpcError)


def test_a_status_without_words_is_still_a_sentence(server: ScriptedServer, client: covey.Client) -> None:
    server.fail(grpc.StatusCode.INTERNAL, "")
    with pytest.raises(covey.ServerError, match="failed with INTERNAL: no details given; its log says more"):
        client.classify(b"cat")


def test_where_nobody_listens_the_error_says_how_to_start_a_server() -> None:
    with socket.socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{bound_but_not_listening.getsockname()[1]}"
        with (
            covey.Client(target) as client,
            pytest.raises(
                covey.Unavailable,
                match=rf"no Covey server answers at {target} \(.*start one there \(`covey serve`\), or name",
            ),
        ):
            client.models()


def test_a_server_that_is_not_coveys_is_told_apart() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with covey.Client(target) as client, pytest.raises(covey.ServerError, match="is it a Covey server, and new enough"):
        client.models()
    server.stop(grace=None).wait()


def _tree(kind: type[covey.CoveyError]) -> set[type[covey.CoveyError]]:
    return {kind}.union(*[_tree(child) for child in kind.__subclasses__()])


def test_all_errors_are_public_and_under_one_root() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == errors.__name__
    }
    assert defined == _tree(covey.CoveyError)
    assert {kind.__name__ for kind in defined} <= set(covey.__all__)


@pytest.mark.parametrize("kind", sorted(_tree(covey.CoveyError), key=str))
def test_errors_keep_their_text_and_facts_across_processes(kind: type[covey.CoveyError]) -> None:
    error = kind("what happened")
    if isinstance(error, covey.CallError):
        error = type(error)("what happened", "localhost:8001", "INTERNAL", "the server's words")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (kind, "what happened", vars(error))


def test_input_errors_are_the_builtin_errors_people_expect() -> None:
    assert issubclass(covey.InvalidInput, ValueError)
    assert issubclass(covey.UnsupportedInput, TypeError)
    assert issubclass(covey.UnreadableFile, OSError)
    assert issubclass(covey.MissingFile, FileNotFoundError)
