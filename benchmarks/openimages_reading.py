"""What does it cost to read an Open Images training set, and to open it from the cache?

    python benchmarks/openimages_reading.py --folder FOLDER

writes simulated files of the challenge's size (1.7 million images, 12.2 million boxes, 6.8 million
verified labels, sizes; 1.4 GB) into FOLDER, unless they are there, and reads them. Every figure
comes from a fresh process with one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from simulated_openimages import write_training_set

TASKS = {
    "read": "the first time: CSV files -> columns, and kept",
    "open": "the second time: from the cache, mapped",
    "epoch": "opened, and every box of every image looked at",
}


def measure(task: str, folder: Path) -> dict[str, float]:
    """CPU and wall seconds and peak memory of this process, imports left out of the seconds."""
    from dense_lt.data.openimages.assemble import Options
    from dense_lt.data.openimages.once import read_open_images_once
    from dense_lt.data.openimages.read import OpenImagesFiles

    names = ("boxes.csv", "classes.csv", "labels.csv", "hierarchy.json", "sizes.csv")
    files = OpenImagesFiles(*(folder / name for name in names))
    cpu, wall = time.process_time(), time.perf_counter()
    table, categories = read_open_images_once(
        files, Options(images_without_boxes=False), folder=folder / "cache"
    )
    if task == "epoch":
        boxes = sum(len(table.image(index).boxes) for index in range(len(table)))
        assert boxes == table.num_instances
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "CPU s": time.process_time() - cpu,
        "wall s": time.perf_counter() - wall,
        "peak MB": usage.ru_maxrss / 1e3,
        "images": len(table),
        "boxes": table.num_instances,
        "classes": len(categories),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1_700_000)
    parser.add_argument("--form", choices=("challenge", "full"), default="challenge")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder / f"{arguments.form}_{arguments.images}"
    if arguments.task:
        print(json.dumps(measure(arguments.task, folder)))
        return
    write_training_set(folder, arguments.images, full=arguments.form == "full")
    size = sum(path.stat().st_size for path in folder.glob("*.csv"))
    print(f"{size / 1e9:.2f} GB of CSV")
    for task, meaning in TASKS.items():
        command = [sys.executable, __file__, *sys.argv[1:], "--task", task]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures = json.loads(done.stdout)
        shown = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        print(f"{meaning}: {shown}")


if __name__ == "__main__":
    main()
