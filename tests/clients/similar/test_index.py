"""An index of vectors: what it finds, how it changes, and that a change which fails leaves it as it was."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from covey.errors import InvalidInput
from covey.results import Model, ModelState, Serving
from covey.similar import About, Index, index, search, storage
from covey.similar.graph import Graph
from covey.similar.index import NewImage

SIZE = 12
ABOUT = About("lenet", 3, "digest", SIZE, "/photos")
EACH_WAY = pytest.mark.parametrize("graph_from", [0, 1_000_000], ids=["graph", "exact"])


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, SIZE)).astype(np.float32)


def new(values: NDArray[np.float32], names: Sequence[str] | None = None) -> Iterator[NewImage]:
    for place, vector in enumerate(values):
        yield (f"{place}.png" if names is None else names[place]), (1000 + place, place), vector


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def cosine(values: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distances, in float64."""
    rows, vector = values.astype(np.float64), query.astype(np.float64)
    return np.asarray(1 - rows @ vector / np.linalg.norm(rows, axis=1) / np.linalg.norm(vector))


def saved(values: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


class TestSearch:
    @pytest.mark.parametrize("at_once", [1, 7, 65_536])
    def test_the_nearest_of_all(self, tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(search, "_ROWS_AT_ONCE", at_once)
        values, query = vectors(50), vectors(1, seed=1)[0]
        made = index.create(tmp_path / "index", ABOUT, new(values))
        distances = cosine(values, query)
        for top in (1, 3, 50, 80):
            found = made.search(query, top)
            order = distances.argsort()[:top]
            assert [match.name for match in found] == [f"{place}.png" for place in order]
            np.testing.assert_allclose([match.distance for match in found], distances[order], atol=1e-6)
        assert found[0].path == Path("/photos") / found[0].name

    def test_lengths_do_not_count(self, tmp_path: Path) -> None:
        values = vectors(20)
        made = index.create(tmp_path / "index", ABOUT, new(values * np.arange(1, 21, dtype=np.float32)[:, None]))
        (best,) = made.search(values[7] * 1e-3, 1)
        assert (best.name, round(best.distance, 6)) == ("7.png", 0)

    @pytest.mark.parametrize("factor", [1e-30, 1e30])
    def test_nor_do_lengths_whose_squares_no_float32_holds(self, tmp_path: Path, factor: float) -> None:
        values = vectors(20)
        made = index.create(tmp_path / "index", ABOUT, new(values * np.float32(factor)))
        (best,) = made.search(values[7] * np.float32(factor), 1)
        assert (best.name, round(best.distance, 6)) == ("7.png", 0)

    def test_vectors_that_are_no_numbers_are_damage(self, tmp_path: Path) -> None:
        index.create(tmp_path / "index", ABOUT, new(vectors(3)))
        path = tmp_path / "index/vectors-1.f32"
        path.write_bytes(b"\xff" * path.stat().st_size)
        with pytest.raises(InvalidInput, match="vectors that are not finite; make the index again"):
            Index.open(tmp_path / "index").search(vectors(1)[0])

    def test_a_vector_of_zeros_is_at_right_angles_to_all(self, tmp_path: Path) -> None:
        values = vectors(3)
        values[1] = 0
        made = index.create(tmp_path / "index", ABOUT, new(values))
        assert {match.name: match.distance for match in made.search(values[0], 3)}["1.png"] == 1
        assert {match.distance for match in made.search(np.zeros(SIZE, np.float32), 3)} == {1}

    def test_of_equal_ones_the_first_come_first(self, tmp_path: Path) -> None:
        made = index.create(tmp_path / "index", ABOUT, new(np.repeat(vectors(1), 30, axis=0)))
        assert [match.name for match in made.search(vectors(1)[0], 3)] == ["0.png", "1.png", "2.png"]

    def test_an_empty_index_finds_nothing(self, tmp_path: Path) -> None:
        index.create(tmp_path / "index", ABOUT, new(vectors(0)))
        assert Index.open(tmp_path / "index").search(vectors(1)[0]) == []

    @pytest.mark.parametrize(
        ("query", "top", "message"),
        [
            (np.ones(SIZE + 1, np.float32), 1, r"shape \[13\]; the index has vectors of 12 numbers"),
            (np.full(SIZE, np.nan, np.float32), 1, "all finite"),
            (np.ones(SIZE, np.float32), 0, "top is 0; expected a number of images from 1 on"),
        ],
    )
    def test_what_cannot_be_searched_for(
        self, tmp_path: Path, query: NDArray[np.float32], top: int, message: str
    ) -> None:
        made = index.create(tmp_path / "index", ABOUT, new(vectors(3)))
        with pytest.raises(InvalidInput, match=message):
            made.search(query, top)


class TestGraph:
    def test_each_vector_of_a_small_graph_is_found(self) -> None:
        """Two that several threads add at the same moment do not see each other: both may stay without neighbours."""
        for seed in range(10):
            values = search.unit(vectors(200, seed))
            graph = Graph.new(SIZE)
            graph.add(np.arange(200), values)
            assert all(row in graph.nearest(value, 64) for row, value in enumerate(values))

    def test_it_finds_nearly_what_all_comparisons_find(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(index, "GRAPH_FROM", 100)
        values = vectors(2000)
        made = index.create(tmp_path / "index", ABOUT, new(values))
        assert made.is_approximate
        assert Index.open(tmp_path / "index").is_approximate
        hits = 0
        for query in vectors(20, seed=1):
            exact = made.search(query, 10, exact=True)
            found = made.search(query, 10)
            hits += len({match.name for match in exact} & {match.name for match in found})
            distances = {match.name: match.distance for match in exact}
            assert all(match.distance == distances.get(match.name, match.distance) for match in found)
        assert hits >= 190

    def test_without_usearch_all_are_compared(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(index, "GRAPH_FROM", 100)
        values = vectors(200)
        with monkeypatch.context() as patch:
            patch.setattr(index, "is_installed", lambda: False)
            made = index.create(tmp_path / "index", ABOUT, new(values))
            assert not made.is_approximate
            assert made.search(values[5], 1)[0].name == "5.png"
        index.change(tmp_path / "index", remove=["7.png"])
        assert Index.open(tmp_path / "index").is_approximate, "the next change makes the graph"
        monkeypatch.setattr(index, "is_installed", lambda: False)
        assert not Index.open(tmp_path / "index").is_approximate

    def test_a_graph_that_cannot_be_read_is_done_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(index, "GRAPH_FROM", 100)
        values = vectors(200)
        index.create(tmp_path / "index", ABOUT, new(values))
        (tmp_path / "index/graph-1.usearch").write_bytes(b"no graph")
        opened = Index.open(tmp_path / "index")
        assert not opened.is_approximate
        assert opened.search(values[5], 1)[0].name == "5.png"


class TestChanges:
    @EACH_WAY
    def test_added_removed_and_replaced(self, tmp_path: Path, graph_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Held against a dictionary, through many changes."""
        monkeypatch.setattr(index, "GRAPH_FROM", graph_from)
        random, folder = np.random.default_rng(3), tmp_path / "index"
        model: dict[str, NDArray[np.float32]] = {}
        first = vectors(60)
        index.create(folder, ABOUT, new(first))
        model |= {f"{place}.png": vector for place, vector in enumerate(first)}
        for turn in range(8):
            added = vectors(15, seed=10 + turn)
            names = [f"{place}.png" for place in random.integers(0, 120, 15)]  # some twice, some there
            removed = [str(name) for name in random.choice(sorted(model), 9, replace=False)]
            index.change(folder, add=new(added, names), remove=removed)
            model = {name: vector for name, vector in model.items() if name not in removed}
            model |= dict(zip(names, added, strict=True))
            opened = Index.open(folder)
            assert opened.is_approximate == (graph_from == 0)
            assert sorted(opened.names) == sorted(model)
            for name in opened.names:
                best = opened.search(model[name], 1)[0]
                assert best.name == name
                assert best.distance == pytest.approx(0, abs=1e-6)
            if graph_from == 0:
                assert opened._graph is not None
                assert len(opened._graph) == len(model)

    def test_only_one_generation_stays(self, tmp_path: Path) -> None:
        folder = tmp_path / "index"
        index.create(folder, ABOUT, new(vectors(5)))
        index.change(folder, remove=["0.png"])
        assert files(folder) == {"index.json", "lock", "vectors-2.f32", "images-2.npy", "names-2.json"}
        assert (folder / "vectors-2.f32").stat().st_size == 4 * 4 * SIZE

    def test_who_has_it_open_goes_on_with_what_there_was(self, tmp_path: Path) -> None:
        folder, values = tmp_path / "index", vectors(5)
        index.create(folder, ABOUT, new(values))
        opened = Index.open(folder)
        index.change(folder, remove=["3.png"])
        assert opened.search(values[3], 1)[0].name == "3.png"
        assert "3.png" not in Index.open(folder).names

    def test_one_that_fails_changes_nothing(self, tmp_path: Path) -> None:
        folder, values = tmp_path / "index", vectors(5)
        index.create(folder, ABOUT, new(values))
        before = {path.name: path.read_bytes() for path in folder.iterdir()}

        def failing() -> Iterator[NewImage]:
            yield from new(vectors(3), ["a", "b", "c"])
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.change(folder, add=failing(), remove=["0.png"])
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def test_what_a_killed_process_has_left_is_removed(self, tmp_path: Path) -> None:
        folder = tmp_path / "index"
        index.create(folder, ABOUT, new(vectors(5)))
        for name in ("vectors-2.f32", "vectors-2.new", "names-2.json", "graph-2.usearch"):
            (folder / name).write_bytes(b"half")
        assert len(Index.open(folder)) == 5
        index.change(folder, add=new(vectors(1), ["more.png"]))
        assert files(folder) == {"index.json", "lock", "vectors-2.f32", "images-2.npy", "names-2.json"}
        assert len(Index.open(folder)) == 6

    def test_a_creation_that_fails_leaves_no_index(self, tmp_path: Path) -> None:
        folder = tmp_path / "index"

        def wrong() -> Iterator[NewImage]:
            yield "a.png", (0, 0), np.ones(SIZE + 1, np.float32)

        with pytest.raises(InvalidInput, match=r"a vector of shape \[13\]; expected 12 finite numbers"):
            index.create(folder, ABOUT, wrong())
        assert files(folder) == {"lock"}
        index.create(folder, ABOUT, new(vectors(2)))

    def test_files_of_others_are_left_alone(self, tmp_path: Path) -> None:
        folder = tmp_path / "index"
        folder.mkdir()
        (folder / "names-2020.json").write_text("[]")
        with pytest.raises(InvalidInput, match=r"has other files in it, such as names-2020.json; name a new folder"):
            index.create(folder, ABOUT, new(vectors(2)))
        assert files(folder) == {"names-2020.json"}
        (folder / "names-2020.json").unlink()
        index.create(folder, ABOUT, new(vectors(2)))
        for name in ("names-old.json", "images-train.npy"):
            (folder / name).touch()
        index.change(folder, remove=["0.png"])
        assert {"names-old.json", "images-train.npy"} < files(folder)

    def test_what_a_killed_process_left_is_no_hindrance(self, tmp_path: Path) -> None:
        folder = tmp_path / "index"
        folder.mkdir()
        left = {"vectors-1.f32", "vectors-1.new", ".index.json.0123abcd"}
        for name in (*left, "lock"):
            (folder / name).touch()
        index.create(folder, ABOUT, new(vectors(2)))
        assert files(folder) == {"index.json", "lock", "vectors-1.f32", "images-1.npy", "names-1.json"}

    def test_a_graph_for_which_the_disk_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(index, "GRAPH_FROM", 0)
        folder = tmp_path / "index"
        index.create(folder, ABOUT, new(vectors(3)))
        before = files(folder)
        full = Path("/dev/full")
        if not full.exists():
            pytest.skip("this system has no /dev/full")
        monkeypatch.setattr(storage, "graph_path", lambda folder, generation: full)
        with pytest.raises(InvalidInput, match=r"cannot be written \(.+\); it is as it was"):
            index.change(folder, add=new(vectors(2, seed=1), ["x.png", "y.png"]))
        assert files(folder) == before

    def test_one_process_at_a_time(self, tmp_path: Path) -> None:
        folder = tmp_path / "index"
        index.create(folder, ABOUT, new(vectors(2)))
        with storage.locked(folder), pytest.raises(InvalidInput, match="is being changed by another process"):
            index.change(folder, remove=["0.png"])
        with pytest.raises(InvalidInput, match="has an index already"):
            index.create(folder, ABOUT, new(vectors(2)))

    def test_files_are_remembered_as_they_were(self, tmp_path: Path) -> None:
        made = index.create(tmp_path / "index", ABOUT, new(vectors(3)))
        assert made.states() == {"0.png": (1000, 0), "1.png": (1001, 1), "2.png": (1002, 2)}
        assert Index.open(tmp_path / "index").states() == made.states()


class TestOpening:
    def test_no_index(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"is no index \(it has no index.json\); make one"):
            Index.open(tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("index.json", b"{", "is damaged"),
            ("index.json", b'{"format": 2}', "of another version of Covey"),
            ("index.json", b'{"format": 1, "model": "m"}', "is damaged"),
            ("index.json", b"[" * 100_000, "is damaged"),
            (
                "index.json",
                json.dumps({"format": 1, **dataclasses.asdict(ABOUT), "images": "3"}).encode(),
                "images is '3'",
            ),
            ("index.json", json.dumps({"format": 1, **dataclasses.asdict(ABOUT), "folder": 5}).encode(), "folder is 5"),
            ("names-1.json", b"[1", "is damaged"),
            ("names-1.json", b"5", "expected a list of names"),
            ("names-1.json", b"[1, 2, 3]", "expected a list of names"),
            ("names-1.json", b"[" * 100_000, "is damaged"),
            ("images-1.npy", b"PK\x03\x04", "is damaged"),
            ("images-1.npy", saved(np.zeros((3, 3))), "expected 3 x 3 integers"),
            ("images-1.npy", saved(np.zeros((3, 3), np.int64)), "is damaged"),
            ("names-1.json", b'["a"]', "1 names for 3 images"),
            ("images-1.npy", b"", "is damaged"),
            ("vectors-1.f32", bytes(7), "has 7 bytes, expected 144"),
        ],
    )
    def test_damage_is_told(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        index.create(tmp_path / "index", ABOUT, new(vectors(3)))
        (tmp_path / "index" / name).write_bytes(content)
        with pytest.raises(InvalidInput, match=message):
            Index.open(tmp_path / "index")

    @pytest.mark.parametrize("name", ["names-1.json", "images-1.npy", "vectors-1.f32"])
    def test_a_file_that_may_not_be_read_is_told(self, tmp_path: Path, name: str) -> None:
        index.create(tmp_path / "index", ABOUT, new(vectors(3)))
        path = tmp_path / "index" / name
        path.unlink()
        path.symlink_to(name)  # which the superuser cannot read either
        with pytest.raises(InvalidInput, match=rf"{name} cannot be read \("):
            Index.open(tmp_path / "index")

    def test_a_missing_file_is_told(self, tmp_path: Path) -> None:
        index.create(tmp_path / "index", ABOUT, new(vectors(3)))
        (tmp_path / "index/vectors-1.f32").unlink()
        with pytest.raises(InvalidInput, match=r"vectors-1\.f32 is missing; make the index again"):
            Index.open(tmp_path / "index")

    def test_what_it_says_of_itself(self, tmp_path: Path) -> None:
        index.create(tmp_path / "index", ABOUT, new(vectors(3)))
        content = json.loads((tmp_path / "index/index.json").read_text())
        assert (content["model"], content["version"], content["digest"], content["size"]) == (
            "lenet",
            3,
            "digest",
            SIZE,
        )
        assert Index.open(tmp_path / "index").about == dataclasses.replace(ABOUT, images=3, generation=1, next_key=3)

    @pytest.mark.parametrize(
        ("name", "version", "digest", "message"),
        [
            ("vgg", 3, "digest", "this is vgg version 3"),
            ("lenet", 4, "digest", "was made by lenet version 3, .* this is lenet version 4"),
            ("lenet", 3, "other", "this is lenet version 3, but of another file than then"),
        ],
    )
    def test_another_model_is_refused(self, tmp_path: Path, name: str, version: int, digest: str, message: str) -> None:
        made = index.create(tmp_path / "index", ABOUT, new(vectors(3)))
        serving = Serving("cpu", "", 1, 1, 1, 1, digest="digest")
        model = Model("lenet", 3, ModelState.READY, "", True, (), None, None, serving)
        made.require_model(model)
        other = dataclasses.replace(
            model, name=name, version=version, serving=dataclasses.replace(serving, digest=digest)
        )
        with pytest.raises(InvalidInput, match=message):
            made.require_model(other)
