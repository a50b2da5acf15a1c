"""Under which names Open Images is published, where each file comes from, and which are there.

The addresses are Google's own; there is no mirror here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dense_lt.data.openimages.read import OpenImagesFiles
from dense_lt.utils.errors import DataError

SPLITS = ("train", "validation", "test")
HOST = "https://storage.googleapis.com/openimages"


@dataclass(frozen=True)
class Role:
    """One file of a split; {split} stands for its name.

    Attributes:
        name: what it is called here.
        challenge: its name in the challenge of 2019.
        releases: its names in the releases V4 to V7, the one under which it is written first.
        addresses: where it can be had.
        without: what is done if it is not there; None if nothing can be.
    """

    name: str
    challenge: str
    releases: tuple[str, ...]
    addresses: tuple[str, ...]
    without: str | None = None

    def names(self, split: str, *, challenge: bool) -> list[str]:
        """Names in the order in which they are looked for."""
        releases = [name.format(split=split) for name in self.releases]
        own = [self.challenge.format(split=split)]
        return list(dict.fromkeys(own + releases if challenge else releases + own))

    def describe(self, path: Path | None, folder: Path, split: str) -> list[str]:
        """Whether it was found, and if not, what that means and where it can be had."""
        kind = "needed" if self.without is None else "optional"
        start = f"{kind:<8}  {self.name:<9}"
        if path is not None:
            return [f"{start}  found {path}"]
        without = f"; without it {self.without}" if self.without else ""
        indent = " " * 21
        return [
            f"{start}  not found in {folder}{without}",
            f"{indent}looked for {', '.join(self.names(split, challenge=True))}",
            *(f"{indent}{HOST}/{address.format(split=split)}" for address in self.addresses),
        ]


BOXES = Role(
    "boxes",
    "challenge-2019-{split}-detection-bbox.csv",
    ("{split}-annotations-bbox.csv", "oidv6-{split}-annotations-bbox.csv"),
    (
        "challenge_2019/challenge-2019-{split}-detection-bbox.csv",
        "v6/oidv6-train-annotations-bbox.csv",
        "v5/validation-annotations-bbox.csv",
    ),
)
CLASSES = Role(
    "classes",
    "challenge-2019-classes-description-500.csv",
    ("class-descriptions-boxable.csv", "oidv7-class-descriptions-boxable.csv"),
    (
        "challenge_2019/challenge-2019-classes-description-500.csv",
        "v5/class-descriptions-boxable.csv",
    ),
)
LABELS = Role(
    "labels",
    "challenge-2019-{split}-detection-human-imagelabels.csv",
    (
        "{split}-annotations-human-imagelabels-boxable.csv",
        "{split}-annotations-human-imagelabels.csv",
        "oidv7-{split}-annotations-human-imagelabels.csv",
        "oidv6-{split}-annotations-human-imagelabels.csv",
    ),
    (
        "challenge_2019/challenge-2019-{split}-detection-human-imagelabels.csv",
        "v5/{split}-annotations-human-imagelabels-boxable.csv",
    ),
    "every class counts as checked in every image",
)
HIERARCHY = Role(
    "hierarchy",
    "challenge-2019-label500-hierarchy.json",
    ("bbox_labels_600_hierarchy.json",),
    (
        "challenge_2019/challenge-2019-label500-hierarchy.json",
        "2018_04/bbox_labels_600_hierarchy.json",
    ),
    "boxes and labels are not expanded",
)
SIZES = Role(
    "sizes",
    "{split}_sizes-00000-of-00001.csv",
    ("{split}_sizes-00000-of-00001.csv",),
    (),
    "sizes are read from the headers of the images, if these are there",
)
ROLES = (BOXES, CLASSES, LABELS, HIERARCHY, SIZES)


def find_files(
    folder: Path, split: str, given: Mapping[str, Path | None], images: Sequence[Path] = ()
) -> tuple[OpenImagesFiles, list[str]]:
    """Files of a split by their published names; those of one release go together.

    Args:
        folder: where they lie.
        split: one of SPLITS.
        given: role -> a path that is taken instead of looking for one.
        images: folders of images; without any, `folder/split` if it is there.

    Returns:
        The files, and lines that say of each whether it was found and what it is needed for.

    Raises:
        DataError: boxes or classes are missing; the message holds the lines.
    """
    paths: dict[str, Path | None] = {}
    for role in ROLES:
        boxes = paths.get("boxes")
        challenge = boxes is None or boxes.name.startswith("challenge")
        names = role.names(split, challenge=challenge)
        there = (folder / name for name in names if (folder / name).is_file())
        paths[role.name] = given.get(role.name) or next(there, None)
    lines = [text for role in ROLES for text in role.describe(paths[role.name], folder, split)]
    folders = tuple(images) or tuple(own for own in (folder / split,) if own.is_dir())
    shown = " ".join(map(str, folders))
    unknown = f"not found: {folder / split}; without them and a file of sizes, sizes are made up"
    lines.append(f"optional  images     {f'found {shown}' if shown else unknown}")
    boxes, classes = paths["boxes"], paths["classes"]
    if boxes is None or classes is None:
        raise DataError("\n".join([f"{folder}: boxes and classes are needed", *lines]))
    files = OpenImagesFiles(
        boxes,
        classes,
        labels=paths["labels"],
        hierarchy=paths["hierarchy"],
        sizes=paths["sizes"],
        image_folders=folders,
    )
    return files, lines


def find_split(folder: Path) -> str:
    """The split whose boxes lie in a folder, "train" if there are none.

    Raises:
        DataError: there are several.
    """
    there = [
        split
        for split in SPLITS
        if any((folder / name).is_file() for name in BOXES.names(split, challenge=True))
    ]
    if len(there) > 1:
        raise DataError(f"{folder}: there are boxes of {' and '.join(there)}; choose with --split")
    return there[0] if there else "train"
