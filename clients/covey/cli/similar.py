"""`covey similar`: an index of a folder's images by their embeddings, and those of them that are like another one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from covey.cli import connection, json_lines, table
from covey.cli.connection import connect
from covey.cli.exits import Exit
from covey.errors import InvalidInput, UnknownModel
from covey_proto import image_folders
from covey_proto.progress import Progress
from covey_proto.wording import plural

if TYPE_CHECKING:
    from covey.similar import Index, Match
    from covey.similar.embedding import Embedder
    from covey.similar.index import NewImage

NAME = "similar"
SUMMARY = "find images that are like another one"
DESCRIPTION = (
    "Find images that are like another one: `index` computes the vectors of a folder's images by a model with an "
    "embedding (covey export ... --embedding), `query` finds the nearest ones."
)
_MODEL_FILE = "a model.onnx, which is run here in place of asking a server; needs the extra cpu"
_SHOWN_FAILURES = 20
_ALL = ""  # the folder of an index, as a name in it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def add_action(name: str, action: Callable[[argparse.Namespace], Exit], text: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(action=action, parser=added)
        return added

    index = add_action("index", _index, "Make an index of a folder's images.")
    index.add_argument("folder", type=Path, metavar="FOLDER", help="of images, at any depth")
    index.add_argument("--to", type=Path, required=True, metavar="INDEX", help="the folder to make")
    index.add_argument("--model", default="", metavar="NAME", help="by which (default: the server's default model)")
    index.add_argument(
        "--version", type=int, default=0, metavar="N", help="of the model (default: the server's choice)"
    )

    add = add_action(
        "add", _add, "Add images to an index; those that it has and that were not written since are left alone."
    )
    add.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="image files, and folders of them")

    remove = add_action("remove", _remove, "Remove images from an index.")
    remove.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="files, and folders, by where they lie or lay"
    )
    remove.add_argument("--missing", action="store_true", help="also all whose files are gone")

    query = add_action("query", _query, "Find the images of an index that are most like others.")
    query.add_argument("files", nargs="+", metavar="FILE", help="image files")
    query.add_argument("--top", type=int, default=10, metavar="K", help="so many (default: 10)")
    query.add_argument("--exact", action="store_true", help="compare all images of a large index, not a choice of them")
    query.add_argument("--json", action="store_true", help="JSON Lines instead of a table: one object per file")
    for each in (add, remove, query):
        each.add_argument("--index", type=Path, required=True, metavar="INDEX", help="the folder of the index")
    for each in (index, add, query):  # `remove` needs no vectors
        each.add_argument("--model-file", type=Path, metavar="FILE", help=_MODEL_FILE)
        connection.add_arguments(each)


def run(options: argparse.Namespace) -> Exit:
    """Raises CoveyError."""
    action: Callable[[argparse.Namespace], Exit] = options.action
    return action(options)


def _index(options: argparse.Namespace) -> Exit:
    from covey.similar import embedding, index, models, storage  # here, as no other command needs them

    if not options.folder.is_dir():
        raise InvalidInput(f"{options.folder} is no folder; expected one of images")
    storage.require_new(options.to)
    with _embedder(options) as embedder:
        about = models.about(embedder.model, os.path.abspath(options.folder))  # noqa: PTH100 - links stay what they are
        sources = embedding.find([options.folder], Path(about.folder))
        if not sources.files:
            raise InvalidInput(
                f"{options.folder} holds no image; {image_folders.counted(sources.left_out) or 'nothing'}"
            )
        _tell_left_out(sources.left_out)
        run = _Run(embedder, sources.files)
        created = index.create(options.to, about, run.vectors())
    return run.end(created, options.to)


def _add(options: argparse.Namespace) -> Exit:
    from covey.similar import Index, embedding, index

    before = Index.open(options.index)
    about = before.about
    with _embedder(options, before) as embedder:
        sources = embedding.find(options.paths, Path(about.folder))
        _tell_left_out(sources.left_out)
        files = embedding.changed(sources.files, before.states())
        if not files:
            print(f"{plural(len(sources.files), 'image')}: nothing new, and nothing written since")
            return Exit.OK
        run = _Run(embedder, files)
        changed = index.change(options.index, add=run.vectors())
    return run.end(changed, options.index)


def _remove(options: argparse.Namespace) -> Exit:
    from covey.similar import Index, embedding, index

    before = Index.open(options.index)
    folder = Path(before.about.folder)
    known = set[str]().union(*map(_above, before.names))
    named = set()
    for path in options.paths:
        place = Path(os.path.abspath(path))  # noqa: PTH100 - links stay what they are
        name = _ALL if folder.is_relative_to(place) else embedding.name_of(path, folder)
        named.add(name if name in known else path.as_posix())  # or as `query --json` shows it
    removed = {name for name in before.names if not named.isdisjoint(_above(name))}
    if options.missing:
        removed |= {name for name in before.names if not (folder / name).exists()}
    if not removed:
        raise InvalidInput(f"{options.index} has none of these; {plural(len(before), 'image')} stay")
    changed = index.change(options.index, remove=removed)
    print(f"removed {plural(len(removed), 'image')}, {len(changed):,} stay")
    return Exit.OK


def _query(options: argparse.Namespace) -> Exit:
    from covey.similar import Index, graph

    index = Index.open(options.index)
    about = index.about
    if about.has_graph and not index.is_approximate and not options.exact:
        advice = f"{graph.INSTALL} finds them faster"
        if graph.is_installed():
            advice = "the index's graph cannot be read; the next `covey similar add` or `remove` makes it anew"
        print(f"note: all {len(index):,} images are compared; {advice}", file=sys.stderr)
    code = Exit.OK
    with _embedder(options, index) as embedder:
        for place, file in enumerate(options.files):
            (vector,) = embedder.embed([Path(file)])
            if isinstance(vector, InvalidInput):  # of a file that is not there
                raise vector
            if isinstance(vector, Exception):
                print(f"covey: {table.printable(f'{file}: {vector}')}", file=sys.stderr)
                code = Exit.FILES_FAILED
                continue
            matches = index.search(vector, options.top, exact=options.exact)
            if options.json:
                print(json_lines.line(_record(file, index, matches, exact=options.exact or not index.is_approximate)))
            else:
                print("\n" * (place > 0) + (f"{table.printable(file)}\n" if len(options.files) > 1 else ""), end="")
                print(
                    table.render(("DISTANCE", "IMAGE"), [(f"{each.distance:.4f}", str(each.path)) for each in matches])
                )
    return code


def _record(file: str, index: Index, matches: Iterable[Match], *, exact: bool) -> dict[str, object]:
    records = [{"name": each.name, "path": str(each.path), "distance": round(each.distance, 6)} for each in matches]
    about = index.about
    return {"file": file, "matches": records, "model": about.model, "version": about.version, "exact": exact}


@contextmanager
def _embedder(options: argparse.Namespace, index: Index | None = None) -> Iterator[Embedder]:
    """By the model that the options name or, for an index that there is, by the version that it is of. Raises
    InvalidInput where that is not to be had."""
    from covey.similar import embedding, models

    if options.model_file is not None:
        from covey.similar.offline import FileEmbedder  # which needs the server's packages

        embedder: Embedder = FileEmbedder(options.model_file)
        if index is not None:
            models.require_same(index.folder, index.about, embedder.model)
        yield embedder
        return
    with connect(options) as client:
        if index is None:
            yield embedding.ServerEmbedder(client, options.model, options.version)
            return
        about = index.about
        try:
            embedder = embedding.ServerEmbedder(client, about.model, about.version)
        except UnknownModel as error:
            raise InvalidInput(
                f"{index.folder} was made by {about.model} version {about.version}, which {client.target} does not "
                f"serve ({error.details}). Serve that version, or make the index again"
            ) from error
        models.require_same(index.folder, about, embedder.model)
        yield embedder


def _above(name: str) -> set[str]:
    """A name and those of the folders above it; of names below the index's own folder, that is _ALL."""
    above = {name, *(parent.as_posix() for parent in Path(name).parents)}
    if "." in above:
        above.remove(".")
        above.add(_ALL)
    return above


def _tell_left_out(left_out: Mapping[str, int]) -> None:
    if left_out:
        print(f"left out {image_folders.counted(left_out)}", file=sys.stderr)


class _Run:
    """Vectors on their way into an index: counts them, and says what could not be read."""

    def __init__(self, embedder: Embedder, files: Mapping[str, Path]) -> None:
        self._embedder = embedder
        self._files = files
        self._failures = 0

    def vectors(self) -> Iterable[NewImage]:
        from covey.similar import embedding

        progress = Progress(len(self._files), unit="image")
        try:
            for each in embedding.embedded(self._embedder, self._files, self._fail):
                progress.step()
                yield each
        finally:
            progress.close()

    def end(self, index: Index, folder: Path) -> Exit:
        """Says what there is now."""
        about = index.about
        print(
            f"{folder}: {plural(len(index), 'image')}, {about.size:,} numbers each, by {about.model} version "
            f"{about.version}; searched {'by a graph' if about.has_graph else 'exactly'}"
        )
        if self._failures > _SHOWN_FAILURES:
            print(f"and {self._failures - _SHOWN_FAILURES:,} more that could not be read", file=sys.stderr)
        return Exit.FILES_FAILED if self._failures else Exit.OK

    def _fail(self, name: str, error: Exception) -> None:
        self._failures += 1
        if self._failures <= _SHOWN_FAILURES:
            print(f"left out {table.printable(f'{name}: {error}')}", file=sys.stderr)
