"""Cost of reading LVIS v1's training annotations, first and again, against the `lvis` package.

A file of the same size is simulated (simulated_lvis_file.py). Every measure is a process of its
own; the file is in the page cache for all. Memory is what `/proc` calls VmHWM; a loader process's
own memory is Private_Clean + Private_Dirty of `smaps_rollup`, while all of them are alive.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import pickle
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from simulated_lvis_file import like_lvis, real_classes, write_file

from dense_lt.data.outline_texts import outline_texts
from dense_lt.data.records import DECODERS, AnnotationRecord
from dense_lt.data.segmentations import unpack
from dense_lt.data.store import read_once

OPENINGS = 3
"""Times that the cache is opened; the cheapest counts."""

DECODED = 16 << 20
"""Bytes of the file on which the parsers are compared."""


class Cost(NamedTuple):
    """Of one process."""

    cpu: float  # seconds
    wall: float
    peak: float  # MB


def ours(folder: Path) -> Cost:
    """First or second reading, by whether the cache is there."""
    return _cost(lambda: read_once(folder / "train.json", folder / "cache", min_bytes=0))


def package(folder: Path) -> Cost:
    from lvis import LVIS

    return _cost(lambda: LVIS(str(folder / "train.json")))


def _cost(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    kept = work()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall, _peak_mb())
    del kept
    return cost


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def _own_mb() -> float:
    """Memory that no other process shares."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


def workers(folder: Path, count: int) -> dict[str, float]:
    """How much loader processes grow that look at all images, each at every `count`-th."""
    table, _ = read_once(folder / "train.json", folder / "cache", min_bytes=0)
    context = multiprocessing.get_context("fork")
    grown, barrier = context.Array("d", count), context.Barrier(count)
    gc.freeze()

    def look(worker: int) -> None:
        before = _own_mb()
        for index in np.random.default_rng(0).permutation(len(table))[worker::count].tolist():
            own = table.image(index)
            own.boxes.sum()
            table.negatives_of(index, 1203)
            for instance in range(int(table.offsets[index]), int(table.offsets[index + 1])):
                table.segmentation(instance)
        barrier.wait()
        grown[worker] = _own_mb() - before
        barrier.wait()

    processes = [context.Process(target=look, args=(worker,)) for worker in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return {"most": max(grown), "least": min(grown), "pickled": len(pickle.dumps(table)) / 1e3}


def parsers(folder: Path) -> None:
    """CPU time of the parsers on part of the annotations, in seconds for the whole file."""
    import msgspec

    class Parsed(AnnotationRecord, kw_only=True):
        segmentation: list[list[float]]

    text, scale = part_of(folder)
    ways: dict[str, Callable[[bytes], Any]] = {
        "json": json.loads,
        "msgspec, fields": msgspec.json.Decoder(list[Parsed]).decode,
        "msgspec, fields, segmentations as text": DECODERS["annotations"].decode,
    }
    try:
        import orjson

        ways["orjson"] = orjson.loads
    except ImportError:
        print("orjson is not installed: left out")
    print("\n| parser | CPU s |\n|---|---|")
    for name, parse in ways.items():
        print(f"| {name} | {scale * seconds(lambda parse=parse: parse(text)):.1f} |")


def forms(folder: Path) -> None:
    """What keeping polygons costs as text, as 64-bit numbers and as hundredths of a pixel."""
    text, scale = part_of(folder)
    raw = [one.segmentation for one in DECODERS["annotations"].decode(text)]
    joined = outline_texts(raw)
    kept = list(zip(joined.starts.tolist(), joined.ends.tolist(), strict=True))
    polygons: list[Any] = [unpack(joined.joined[start:end]) for start, end in kept]
    print("\n| form | bytes each | CPU s to make | CPU s to decode |\n|---|---|---|---|")
    made = seconds(lambda: outline_texts(raw))
    decoded = seconds(lambda: [unpack(joined.joined[start:end]) for start, end in kept])
    size = len(joined.joined) / len(raw)
    print(f"| text | {size:.0f} | {scale * made:.1f} | {scale * decoded:.1f} |")
    parsed = decoded  # numbers must have been parsed before they are packed
    for name, kind, factor in (("64-bit numbers", "<f8", 1), ("hundredths, 32 bits", "<i4", 100)):
        pack = partial(pack_numbers, kind=kind, factor=factor)
        packed = list(map(pack, polygons))
        made = parsed + seconds(lambda pack=pack: list(map(pack, polygons)))
        unpacked = partial(unpack_numbers, kind=kind, factor=factor)
        decoded = seconds(lambda unpack=unpacked, packed=packed: list(map(unpack, packed)))
        size = sum(map(len, packed)) / len(packed)
        print(f"| {name} | {size:.0f} | {scale * made:.1f} | {scale * decoded:.1f} |")


def pack_numbers(polygons: list[list[float]], kind: str, factor: int) -> bytes:
    lengths = [len(polygon) for polygon in polygons]
    numbers = np.rint(factor * np.concatenate(polygons)) if factor > 1 else np.concatenate(polygons)
    header = struct.pack(f"<I{len(lengths)}I", len(lengths), *lengths)
    return header + numbers.astype(kind).tobytes()


def unpack_numbers(packed: bytes, kind: str, factor: int) -> list[list[float]]:
    (count,) = struct.unpack_from("<I", packed)
    lengths = struct.unpack_from(f"<{count}I", packed, 4)
    numbers = (np.frombuffer(packed, kind, offset=4 + 4 * count) / factor).tolist()
    polygons, start = [], 0
    for length in lengths:
        polygons.append(numbers[start : start + length])
        start += length
    return polygons


def part_of(folder: Path) -> tuple[bytes, float]:
    """The first annotations, and how many times as large the file is."""
    with (folder / "train.json").open("rb") as file:
        text = file.read(DECODED)
    first = text.index(b'"annotations": [') + 15
    text = text[first : text.rindex(b"}, {", 0, text.find(b'], "images"')) + 1] + b"]"
    return text, (folder / "train.json").stat().st_size / len(text)


def seconds(work: Callable[[], object]) -> float:
    """CPU time, the least of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure(name: str, folder: Path, *arguments: object) -> Any:
    """Of a fresh process."""
    command = [sys.executable, __file__, "--folder", str(folder), "--measure", name]
    command += map(str, arguments)
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return json.loads(output)


def compare(folder: Path, count: int) -> None:
    shutil.rmtree(folder / "cache", ignore_errors=True)
    warm(folder)
    costs = {"first reading": Cost(*measure("ours", folder))}
    costs["from the cache"] = min(Cost(*measure("ours", folder)) for _ in range(OPENINGS))
    warm(folder)
    costs["lvis.LVIS"] = reference = Cost(*measure("lvis", folder))
    print("| | CPU s | wall s | peak MB | CPU x | wall x | memory x |")
    print("|---|---|---|---|---|---|---|")
    for name, cost in costs.items():
        times = " | ".join(
            f"{theirs / own:.1f}" for theirs, own in zip(reference, cost, strict=True)
        )
        print(f"| {name} | {cost.cpu:.2f} | {cost.wall:.2f} | {cost.peak:.0f} | {times} |")
    size = sum(path.stat().st_size for path in (folder / "cache").rglob("*")) / 1e6
    print(f"\nThe cache takes {size:.0f} MB.")
    grown = measure("workers", folder, count)
    print(
        f"After all images in {count} processes each has grown by {grown['least']:.1f} to "
        f"{grown['most']:.1f} MB of its own; the table is {grown['pickled']:.1f} kB when pickled."
    )


def warm(folder: Path) -> None:
    """Have the file in the page cache."""
    with (folder / "train.json").open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for 2 GB of files")
    parser.add_argument("--classes", type=Path, help="categories of an LVIS training file")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of images")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--parsers", action="store_true", help="compare parsers and forms, too")
    parser.add_argument("--keep", action="store_true", help="leave the simulated file there")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if arguments.measure:
        name, *values = arguments.measure
        known = {"ours": ours, "lvis": package}
        result = workers(folder, *map(int, values)) if name == "workers" else known[name](folder)
        print(json.dumps(result))
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.json").exists():
        classes = real_classes(arguments.classes) if arguments.classes else like_lvis()
        write_file(folder / "train.json", classes, scale=arguments.scale)
    compare(folder, arguments.workers)
    if arguments.parsers:
        parsers(folder)
        forms(folder)
    shutil.rmtree(folder / "cache")
    if not arguments.keep:
        (folder / "train.json").unlink()


if __name__ == "__main__":
    main()
