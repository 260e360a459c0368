"""The memory that decoding may take: what fits, what waits, what is refused, and where the limit comes from."""

from __future__ import annotations

import functools
import io
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.server.fakes import finish

from covey_server.errors import Cancelled, ImageTooLarge, Stopping
from covey_server.images import decode_budget
from covey_server.images.decode_budget import DecodeBudget
from covey_server.images.decode_pool import DecodePool, Steps
from covey_server.images.pixels import InputSpec, needed_bytes, read_header
from covey_server.system import memory_limit
from covey_server.system.memory_limit import Room, room

MIB = 2**20
GREY = InputSpec(28, 28, 1)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def nothing() -> None:
    pass


class Reservation:
    """A thread that holds bytes until it is told to give them back."""

    def __init__(self, budget: DecodeBudget, count: int, check: Callable[[], None] = nothing) -> None:
        self.holds, self.release = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self._budget, self._count, self._check = budget, count, check
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._budget.reserve(self._count, self._check):
                self.holds.set()
                self.release.wait(20)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self.error = error

    def end(self) -> None:
        self.release.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_a_large_image_is_not_overtaken_for_ever() -> None:
    budget = DecodeBudget(132, threads=1)  # 33 of them for small images, 99 for all others
    first = Reservation(budget, 60)
    assert first.holds.wait(20)
    seen = threading.Event()
    large = Reservation(budget, 99, seen.set)
    assert seen.wait(20)
    behind = threading.Event()
    small = Reservation(budget, 10, behind.set)  # would fit, but came later
    assert behind.wait(20)
    assert (budget.reserved_bytes, budget.waiting) == (60, 2)
    assert not large.holds.is_set()
    assert not small.holds.is_set()
    first.end()
    assert large.holds.wait(20)
    assert not small.holds.is_set()
    large.end()
    assert small.holds.wait(20)
    small.end()
    assert (budget.reserved_bytes, budget.waiting) == (0, 0)


def test_who_gives_up_waiting_lets_the_next_one_in() -> None:
    budget = DecodeBudget(400, threads=1)
    first = Reservation(budget, 200)
    assert first.holds.wait(20)

    def gone() -> None:
        raise Cancelled("gone")

    waited = Reservation(budget, 300, gone)
    waited._thread.join(20)
    assert isinstance(waited.error, Cancelled)
    after = Reservation(budget, 100)
    assert after.holds.wait(20)
    first.end()
    after.end()
    assert (budget.reserved_bytes, budget.waiting) == (0, 0)


def test_what_can_never_fit_is_refused_with_the_numbers() -> None:
    bomb = encode(Image.new("RGBA", (7070, 7070)), "WEBP", lossless=True)
    assert len(bomb) < 100_000
    pool = DecodePool(1, 50_000_000, 200 * MIB)
    decoded = finish(pool.decode([bomb], GREY, nothing))
    assert isinstance(decoded.failures[0], ImageTooLarge)
    text = str(decoded.failures[0])
    assert "the WebP image of 7070 x 7070 pixels takes about 7" in text
    assert "184 MiB are there for large images (--max-decode-bytes is 200 MiB); scale it down" in text


def test_a_refused_image_costs_no_memory() -> None:
    """In a process of its own, whose address space ends a little above what it has."""
    bomb = encode(Image.new("RGBA", (7070, 7070)), "WEBP", lossless=True)
    script = """
import resource, sys
from covey_server.images.decode_pool import DecodePool
from covey_server.images.pixels import InputSpec
pool = DecodePool(1, 50_000_000, 200 * 2**20)
data = sys.stdin.buffer.read()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20, -1))
steps = pool.decode([data] * 4, InputSpec(28, 28, 1), lambda: None)
try:
    while True:
        next(steps)
except StopIteration as end:
    print(type(end.value.failures[3]).__name__)
"""
    run = subprocess.run([sys.executable, "-c", script], input=bomb, capture_output=True, timeout=60, check=False)
    assert run.stdout.decode().strip() == "ImageTooLarge", run.stderr.decode()


SIDE = 2000  # of the images that are measured
SLACK_BYTES = 27 * MIB  # by which an estimate may exceed what is taken, beside its factor


@functools.cache
def grey_noise(side: int) -> Image.Image:
    noise = np.random.default_rng(side).integers(0, 256, (side // 8, side // 8), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


IMAGES: dict[str, Callable[[], bytes]] = {
    "PNG, grey": lambda: encode(grey_noise(SIDE), "PNG", compress_level=1),
    "PNG, palette": lambda: encode(grey_noise(SIDE).convert("P"), "PNG", compress_level=1),
    "PNG, alpha": lambda: encode(grey_noise(SIDE).convert("RGBA"), "PNG", compress_level=1),
    "PNG, 16 bits": lambda: encode(
        Image.fromarray(np.asarray(grey_noise(SIDE)).astype(np.uint16) << 8), "PNG", compress_level=1
    ),
    "GIF": lambda: encode(grey_noise(SIDE).convert("P"), "GIF"),
    "WebP, lossless": lambda: encode(grey_noise(SIDE).convert("RGBA"), "WEBP", lossless=True, method=0, quality=0),
    "WebP, lossy": lambda: encode(grey_noise(SIDE).convert("RGB"), "WEBP", method=0),
    "JPEG": lambda: encode(grey_noise(SIDE).convert("RGB"), "JPEG"),
    "JPEG, progressive": lambda: encode(grey_noise(SIDE).convert("RGB"), "JPEG", progressive=True, subsampling=0),
    "JPEG, CMYK": lambda: encode(grey_noise(SIDE).convert("CMYK"), "JPEG"),
    "AVIF": lambda: encode(grey_noise(SIDE).convert("RGBA"), "AVIF", speed=10),
    "BMP": lambda: encode(grey_noise(SIDE).convert("RGB"), "BMP"),
    "TIFF": lambda: encode(grey_noise(SIDE).convert("RGB"), "TIFF", compression="tiff_lzw", tiffinfo={278: SIDE}),
    "PNG, one column": lambda: encode(Image.new("L", (1, SIDE * SIDE)), "PNG", compress_level=1),
}
MEASURE = """
import ctypes, sys
from covey_server.system import memory
memory.bound_freed_memory()
from covey_server.images.image_formats import available
from covey_server.images.pixels import InputSpec, _pixels, needed_bytes, read_header
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
header = read_header(sys.stdin.buffer.read(), formats=available())
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
for argument in sys.argv[1:]:
    spec = eval(argument)
    ctypes.CDLL(None).malloc_trim(0)  # or what the last one left would be taken again for nothing
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
    _pixels(header, spec)
    print(peak() - before, needed_bytes(header, spec))
"""


def measure(data: bytes, *specs: str) -> list[tuple[int, int]]:
    """What decoding `data` takes for each spec, in a process of its own, and what it was estimated at."""
    arguments = [sys.executable, "-c", MEASURE, *specs]
    run = subprocess.run(arguments, input=data, capture_output=True, check=True, timeout=60)
    numbers = list(map(int, run.stdout.split()))
    return list(zip(numbers[::2], numbers[1::2], strict=True))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process its own peak")
@pytest.mark.parametrize("name", IMAGES)
def test_the_estimate_is_no_less_than_what_decoding_takes_and_not_much_more(name: str) -> None:
    specs = [f"InputSpec({side}, {side}, 3, background=(255, 128, 0))" for side in (28, 1200)]
    for taken, estimated in measure(IMAGES[name](), *specs):
        assert taken <= estimated + MIB
        assert estimated <= 3 * taken + SLACK_BYTES or name == "PNG, one column"  # nobody sends these


ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6
POLICIES = {
    "shorter side": "224, 224, 3, Resize.SHORTER_SIDE, resize_to=256, interpolation=Interpolation.LANCZOS",
    "shorter side, exact": "224, 224, 3, Resize.SHORTER_SIDE, resize_to=1024, exact=True",
    "pad": "224, 224, 3, Resize.PAD, interpolation=Interpolation.BICUBIC, pad=(9, 9, 9)",
    "pad, exact": "224, 224, 3, Resize.PAD, interpolation=Interpolation.BICUBIC, exact=True",
    "stretch, exact": "1200, 1200, 3, interpolation=Interpolation.LANCZOS, exact=True",
    "stretch, exact, grey": "224, 224, 1, exact=True",
    "crop, exact": "224, 224, 3, Resize.CENTER_CROP, 0.875, exact=True",
    "nearest": "224, 224, 3, interpolation=Interpolation.NEAREST",
}
TURNED: dict[str, Callable[[], bytes]] = {
    "PNG, palette": lambda: encode(grey_noise(SIDE).convert("P"), "PNG", compress_level=1, exif=ON_ITS_SIDE),
    "PNG, alpha": lambda: encode(grey_noise(SIDE).convert("RGBA"), "PNG", compress_level=1, exif=ON_ITS_SIDE),
    "JPEG": lambda: encode(grey_noise(SIDE).convert("RGB").crop((0, 0, SIDE, 600)), "JPEG", exif=ON_ITS_SIDE),
    "WebP": lambda: encode(grey_noise(SIDE).convert("RGB"), "WEBP", method=0, exif=ON_ITS_SIDE),
    "PNG, long": lambda: encode(grey_noise(SIDE).convert("P").resize((40 * SIDE, SIDE // 40)), "PNG", exif=ON_ITS_SIDE),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process its own peak")
@pytest.mark.parametrize("name", TURNED)
def test_the_estimate_is_no_less_than_what_any_policy_takes(name: str) -> None:
    """Turned images: in exact mode a copy is made before they are resized."""
    found = measure(TURNED[name](), *(f"InputSpec({policy})" for policy in POLICIES.values()))
    for policy, (taken, estimated) in zip(POLICIES, found, strict=True):
        assert taken <= estimated + MIB, policy
        assert estimated <= 4 * taken + SLACK_BYTES or name == "PNG, long", policy


def test_small_images_need_not_ask() -> None:
    pool = DecodePool(2, 50_000_000, 128 * MIB)
    header = read_header(encode(Image.new("RGB", (640, 480)), "PNG"))
    assert needed_bytes(header, GREY) <= pool.budget.small_bytes <= 8 * MIB
    holding = Reservation(pool.budget, 96 * MIB)  # all there is for larger ones
    assert holding.holds.wait(20)
    assert finish(pool.decode([encode(Image.new("L", (28, 28)), "PNG")], GREY, nothing)).count == 1
    holding.end()


def test_large_images_leave_the_threads_for_small_ones() -> None:
    """One that waits for memory keeps no thread that others need."""
    pool = DecodePool(1, 50_000_000, 64 * MIB)
    holding = Reservation(pool.budget, 40 * MIB)
    assert holding.holds.wait(20)
    large, small = encode(Image.new("RGB", (2500, 2000)), "PNG"), encode(Image.new("L", (28, 28)), "PNG")
    waits, ended = threading.Event(), threading.Event()
    done: list[str] = []

    def decode_large() -> Steps[None]:
        yield from pool.decode([large], GREY, lambda: waits.set() if pool.budget.waiting else None)
        done.append("large")
        ended.set()

    pool.submit(decode_large(), "a", images=1)
    assert waits.wait(20)
    short = threading.Event()

    def decode_small() -> Steps[None]:
        yield from pool.decode([small], GREY, nothing)
        done.append("small")
        short.set()

    pool.submit(decode_small(), "a", images=1)
    assert short.wait(20)
    assert done == ["small"]
    holding.end()
    assert ended.wait(20)
    assert done == ["small", "large"]
    pool.close()
    with pytest.raises(Stopping):
        pool.submit(decode_small(), "a", images=1)


def test_closing_the_pool_ends_the_waiting() -> None:
    pool = DecodePool(1, 50_000_000, 64 * MIB)
    holding = Reservation(pool.budget, 40 * MIB)
    assert holding.holds.wait(20)
    large = encode(Image.new("RGB", (2500, 2000)), "PNG")
    with pytest.raises(Stopping):
        finish(pool.decode([large], GREY, lambda: pool.close() if pool.budget.waiting else None))
    holding.end()


def test_the_limit_is_the_smallest_of_all_around(tmp_path: Path) -> None:
    inner = tmp_path / "system.slice" / "covey.service"
    inner.mkdir(parents=True)
    (tmp_path / "self").write_text("0::/system.slice/covey.service\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    4194304 kB\n")

    def found() -> Room | None:
        return room(tmp_path, tmp_path / "self", tmp_path / "meminfo")

    assert found() == Room(4096 * MIB, "the 4,096 MiB of this machine that are free")
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text(f"{1024 * MIB}\n")
    (inner.parent / "memory.current").write_text(f"{300 * MIB}\n")
    (inner.parent / "memory.stat").write_text(f"anon 1\ninactive_file {100 * MIB}\n")  # gives way to what is needed
    assert found() == Room(824 * MIB, "the cgroup's limit of 1,024 MiB")
    (inner.parent / "memory.stat").write_text(
        f"inactive_file {100 * MIB}\nactive_file {SLACK_BYTES}\n"
    )  # the second last
    assert found() == Room(824 * MIB, "the cgroup's limit of 1,024 MiB", SLACK_BYTES)
    (inner / "memory.high").write_text(f"{512 * MIB}\n")
    assert found() == Room(512 * MIB, "the cgroup's limit of 512 MiB")


@pytest.mark.parametrize("path", ["/docker/abc", "/"])
def test_version_1_of_cgroups_is_read_too(tmp_path: Path, path: str) -> None:
    """Within a container its own files stand at the root, while its path is that of the machine."""
    memory = tmp_path / "memory"
    memory.mkdir()
    (tmp_path / "self").write_text(f"5:cpu,cpuacct:/other\n4:memory:{path}\n0::/\n")
    (memory / "memory.limit_in_bytes").write_text(f"{512 * MIB}\n")
    (memory / "memory.usage_in_bytes").write_text(f"{200 * MIB}\n")
    (memory / "memory.stat").write_text(f"total_inactive_file {50 * MIB}\n")
    assert room(tmp_path, tmp_path / "self", tmp_path / "none") == Room(362 * MIB, "the cgroup's limit of 512 MiB")
    (memory / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "meminfo").write_text("MemAvailable: 1024 kB\n")
    assert room(tmp_path, tmp_path / "self", tmp_path / "meminfo") == Room(
        MIB, "the 1 MiB of this machine that are free"
    )


def test_half_of_what_is_free_is_for_decoding_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode_budget.limit(5 * MIB) == Room(5 * MIB, "--max-decode-bytes")
    monkeypatch.setattr(decode_budget, "room", lambda: Room(300 * MIB, "the cgroup's limit of 512 MiB"))
    assert decode_budget.limit(0) == Room(150 * MIB, "half of what the cgroup's limit of 512 MiB leaves")
    monkeypatch.setattr(decode_budget, "room", lambda: Room(MIB, "nearly nothing"))
    assert decode_budget.limit(0).free_bytes == decode_budget.MIN_BYTES
    monkeypatch.undo()
    found = memory_limit.room()
    assert found is None or found.free_bytes > resource.getpagesize()
