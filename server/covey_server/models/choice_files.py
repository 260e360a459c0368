"""The files in a model's folder that say which version is what: read, and written for whoever decides by a call or a
rule. The folder is the only truth; what is written here is followed as if it had been written by hand.

A folder that is the copy of a store is not written: the store's files are the truth, and the next look at them would
undo it.

A file holds the number of a version. `default-version` may have a second line: the version that was the default before,
to go back to. Files are replaced as a whole, so nobody reads half of one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from covey_proto import atomic_files
from covey_proto.layout import CANARY_VERSION, DEFAULT_VERSION, MIRROR_LOCK, is_version
from covey_server.system.regular_files import read_regular

_MAX_BYTES = 64
_TAKEN = f".taken-{CANARY_VERSION}"  # its name while a decision is written


def read(path: Path) -> tuple[int, int | None]:
    """The version in a file, and the one before it if the file says so. Raises OSError, ValueError."""
    text = read_regular(path, _MAX_BYTES).decode(errors="replace").strip()
    first, *more = [line.strip() for line in text.split("\n")] if path.name == DEFAULT_VERSION else [text]
    if not is_version(first) or len(more) > 1 or not all(map(is_version, more)):
        raise ValueError(f"{path} holds {text[:40]!r}: expected the number of a version, a whole number from 1 up")
    return int(first), int(more[0]) if more else None


def is_copy(folder: Path) -> bool:
    """Whether a models folder is the copy of a store."""
    return (folder / MIRROR_LOCK).exists()


def write(folder: Path, name: str, file: str, version: int, before: int | None = None) -> None:
    """Chooses a version; `before` is the one that `default-version` goes back to. Raises OSError."""
    _require_own(folder)
    text = f"{version}\n" if before in (None, version) else f"{version}\n{before}\n"
    atomic_files.write_text(folder / name / file, text)


def restore(path: Path, text: bytes | None) -> None:
    """Brings a file back to what it was; None: there was none. Raises OSError."""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        atomic_files.write_bytes(path, text)


def remove(folder: Path, name: str, file: str) -> None:
    """Chooses none any more. Raises OSError."""
    _require_own(folder)
    (folder / name / file).unlink(missing_ok=True)


def promote_canary(folder: Path, name: str, version: int, served: int) -> bool:
    """Makes the canary the default version, in place of the one that is `served`. False, and nothing is changed, if it
    is the canary no more: somebody else has decided. Raises OSError; then, too, nothing is changed."""
    with _taken(folder, name, version) as is_ours:
        if is_ours:
            write(folder, name, DEFAULT_VERSION, version, served)
        return is_ours


def roll_back_canary(folder: Path, name: str, version: int, served: int) -> bool:
    """Ends a canary. Where no default version is chosen, the one that is `served` is from now on: else the canary would
    be it, if it is the highest. It is no version to roll back to any more. False and OSError as above."""
    with _taken(folder, name, version) as is_ours:
        if is_ours and not (folder / name / DEFAULT_VERSION).exists():
            write(folder, name, DEFAULT_VERSION, served)
        elif is_ours:
            with suppress(ValueError):  # then it names no version to go back to
                chosen, before = read(folder / name / DEFAULT_VERSION)
                if before == version:
                    write(folder, name, DEFAULT_VERSION, chosen)
        return is_ours


def put_back(folder: Path) -> None:
    """Brings back canaries that a process took away and did not live to write for what; the rules decide again. To be
    called before a server looks at the folder for the first time. One that cannot be written stays as it is."""
    with suppress(OSError):
        for taken in folder.glob(f"*/{_TAKEN}"):
            path = taken.with_name(CANARY_VERSION)
            if path.exists():  # another one was chosen meanwhile
                taken.unlink(missing_ok=True)
            else:
                taken.rename(path)


def by_hand(folder: Path, name: str, version: int) -> str:
    """The commands that end a canary, with this version as the default one. In the copy of a store they are for the
    store."""
    model = name if is_copy(folder) else folder / name
    return f"echo {version} > {model}/{DEFAULT_VERSION}; rm {model}/{CANARY_VERSION}"


@contextmanager
def _taken(folder: Path, name: str, version: int) -> Iterator[bool]:
    """Takes the file of a canary away, and puts it back if what is done meanwhile fails. Several processes and servers
    may try at once: one of them succeeds, and its decision counts for all. False for the others."""
    _require_own(folder)
    path = folder / name / CANARY_VERSION
    taken = path.with_name(_TAKEN)
    is_ours = False
    with suppress(FileNotFoundError, ValueError):
        if read(path)[0] == version:
            path.rename(taken)
            is_ours = True
    if not is_ours:
        yield False
        return
    try:
        yield True
    except BaseException:
        taken.rename(path)
        raise
    taken.unlink(missing_ok=True)


def _require_own(folder: Path) -> None:
    if is_copy(folder):
        raise OSError(errno.EROFS, "it is the copy of a store; write the file there")
