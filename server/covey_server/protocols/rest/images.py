"""The image files in a body: the body itself, those of a form, or base64 in JSON."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from covey_server.calls.http import JSON, HttpCall
from covey_server.errors import InvalidImage, InvalidRequest, UnsupportedMediaType
from covey_server.protocols.rest import json_text, multipart
from covey_server.system.threads import with_pauses

_CURL_DATA = "application/x-www-form-urlencoded"  # says curl of what -d and --data-binary send, whatever it is
_FILE_TYPES = ("", "application/octet-stream", _CURL_DATA, "binary/octet-stream")
_PIECE = 1 << 18  # characters in base64: 1.6 ms
_FORM = "multipart/form-data"
_EXPECTED = f"send an image file as the body (any image/ type), {_FORM} with files, or {JSON} with base64"


@dataclass(frozen=True)
class Images:
    """The files, in order. `is_one`: the request is about a single image, so that it fails if the image does.
    `settings` are what the JSON has beside them."""

    files: Sequence[bytes]
    is_one: bool
    settings: dict[str, Any]


def read_images(call: HttpCall, single: Sequence[str], several: str = "", settings: Sequence[str] = ()) -> Images:
    """The images of a request. In JSON, a name of `single` has one, `several` has a list, `settings` is what else may
    be there. Raises InvalidImage, InvalidRequest, RequestTooLarge, UnsupportedMediaType."""
    content_type = call.header("content-type")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return _of_json(json_text.read_object(call.payload), single, several, settings)
    if kind == _FORM:
        files = multipart.files(call.payload, content_type)
        if not files:
            raise InvalidRequest("the request holds no image: the form is empty; send files (curl -F image=@cat.jpg)")
        return Images(files, False, {})
    if kind in _FILE_TYPES or kind.startswith("image/"):
        if not call.payload:
            raise InvalidRequest(f"the request has no body; {_EXPECTED}")
        if kind == _CURL_DATA and b"\0" not in call.payload:  # each image file has zero bytes; -d leaves them out
            raise InvalidImage(
                f"the {len(call.payload):,} bytes are no image file, and came as {kind}, as curl -d sends them; send a "
                f"file with -T FILE or --data-binary @FILE (-d changes it), JSON with -H 'Content-Type: {JSON}'",
                "unknown_format",
            )
        return Images((bytes(call.payload),), True, {})
    raise UnsupportedMediaType(f"bodies of the type {kind[:64]!r} are not read here; {_EXPECTED}")


def slow_bytes(call: HttpCall) -> int:
    """How many bytes of a body are slow to read: all of JSON and forms, none of files."""
    kind = call.header("content-type").partition(";")[0].strip().lower()
    return len(call.payload) if kind in (JSON, _FORM) else 0


def _of_json(found: dict[str, Any], single: Sequence[str], several: str, settings: Sequence[str]) -> Images:
    known = (*single, *((several,) if several else ()), *settings)
    json_text.require_known(found, known, "the JSON")
    given = [name for name in known[: len(known) - len(settings)] if name in found]
    if len(given) != 1:
        names = " or ".join(map(repr, known[: len(known) - len(settings)]))
        raise InvalidRequest(f"the JSON has {' and '.join(map(repr, given)) or 'no image'}; expected one of {names}")
    name = given[0]
    rest = {key: value for key, value in found.items() if key != name}
    if name != several:
        return Images((decode_base64(found[name], name),), True, rest)
    if not isinstance(found[name], list):
        raise InvalidRequest(f"{name!r} is {json_text.kind_of(found[name])}; expected an array of strings in base64")
    if not found[name]:
        raise InvalidRequest(f"the request holds no image: {name!r} is empty")
    if len(found[name]) > multipart.MAX_FILES:
        raise InvalidRequest(f"{name!r} has {len(found[name]):,} elements; expected at most {multipart.MAX_FILES:,}")
    files = [decode_base64(each, f"{name}[{place}]") for place, each in enumerate(with_pauses(found[name]))]
    return Images(files, False, rest)


def decode_base64(text: object, what: str) -> bytes:
    """The bytes of a string in base64, or of a data: URL. Raises InvalidRequest."""
    if not isinstance(text, str):
        raise InvalidRequest(f"{what!r} is {json_text.kind_of(text)}; expected a string in base64")
    if text.startswith("data:"):
        _, separator, text = text.partition(";base64,")
        if not separator:
            raise InvalidRequest(f"{what!r} is a data: URL without base64")
    try:
        pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
        return b"".join([binascii.a2b_base64(piece, strict_mode=True) for piece in with_pauses(pieces)])
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{what!r} is not in base64: {error}") from None
