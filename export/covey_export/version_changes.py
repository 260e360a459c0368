"""What people are told about a new version beside those that are published: who gets it, and how it differs from the
version that callers got so far. What servers say when they load it has the same words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from covey_export import model_versions
from covey_export.model_versions import NewVersion
from covey_proto import layout, metadata
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_proto.version_changes import differences
from covey_proto.wording import plural


def lines(new: NewVersion, info: ModelInfo) -> Iterator[str]:
    """A note about earlier versions, and a warning where `info`, which the new one's file holds, differs from what
    callers know. Nothing for a first version. To be asked before it is published."""
    earlier = [version for version in model_versions.versions(new.parent) if version < new.version]
    if not earlier:
        return
    name, chosen = new.parent.name, _chosen(new.parent, earlier)
    known = chosen or earlier[-1]
    yield f"note: {name} has {plural(len(earlier), 'version')} already; " + (
        f"its {layout.DEFAULT_VERSION} names version {chosen}, which callers go on getting until version {new.version} "
        f"is promoted"
        if chosen
        else f"servers give callers this one, version {new.version}, from now on"
    )
    before = _described(new.parent / str(known) / layout.FILE_NAME)
    changes = differences(info, before) if before is not None else ()
    if not changes:
        return
    yield f"warning: {name} version {new.version} differs from version {known}: {'; '.join(changes)}"
    yield (
        f"  not meant: remove {new.parent / str(new.version)} and publish it again as version {known} was "
        f"({new.parent / str(known) / 'MODEL_CARD.md'} says how)"
    )
    yield "  meant, but not for all callers: --name gives it a name of its own" + (
        ""
        if chosen
        else f", or `echo {known} > {new.parent / layout.DEFAULT_VERSION}` lets them go on getting version {known}"
    )


def _chosen(parent: Path, published: list[int]) -> int:
    """The version that `default-version` names; 0 where there is no such file, or no such version."""
    try:
        first = (parent / layout.DEFAULT_VERSION).read_text().strip().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(first) if layout.is_version(first) and int(first) in published else 0


def _described(path: Path) -> ModelInfo | None:
    """What a published file says of itself; None where it cannot be read. It may be one that no server loads."""
    try:
        model = onnx.load(path, load_external_data=False)
        return next((metadata.from_json(each.value) for each in model.metadata_props if each.key == metadata.KEY), None)
    except (OSError, ValueError, DecodeError):
        return None
