"""Images a second and core through the training pipeline, against plain torchvision transforms.

    python benchmarks/loading.py --photographs FOLDER

Both read the same JPEG files and annotations and give batches of eight: decoded, flipped at random,
resized to 800 x 1333 at most, padded, with boxes and labels, and once more with masks. The plain
pipeline is what torchvision's tutorials write: Pillow, `transforms.v2` on `tv_tensors`, masks drawn
by pycocotools as an (M, H, W) stack, normalised to float32. Ours leaves the pixels as bytes, for
the device to normalise, and the masks as outlines; two further rows move that border, so that
nothing is compared with less than it does.

The photographs are scaled and cropped to the sizes of LVIS's images; without a folder, pictures
with the spectrum of photographs are made. Objects are drawn with LVIS's density: 12.7 an image in
the mean, outlines of 10 to 60 corners in one or two parts. Times are process CPU time of one
thread, the least of several rounds that take turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from dense_lt.config.data import DataConfig
from dense_lt.data.batching import to_outlines
from dense_lt.data.build import build_datasets, build_train_loader
from dense_lt.data.dataset import DetectionDataset

SIZES = ((480, 640), (427, 640), (640, 480), (640, 427), (640, 640), (375, 500), (500, 375))
SHARES = (0.38, 0.3, 0.12, 0.08, 0.03, 0.06, 0.03)
"""(height, width) of LVIS's images, which are COCO's, and how common each is, roughly."""

SHORT, LONG, BATCH = 800, 1333, 8
CLASSES = 1203
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = {".jpg", ".jpeg", ".png"}


def make_set(folder: Path, photographs: Path | None, count: int) -> Path:
    """Write `count` images and their annotations; the path of the annotation file."""
    random = np.random.default_rng(0)
    found = (
        sorted(p for p in photographs.rglob("*") if p.suffix.lower() in SUFFIXES)
        if photographs
        else []
    )
    images, annotations = [], []
    for number in range(count):
        height, width = SIZES[random.choice(len(SIZES), p=SHARES)]
        source = Image.open(found[number * len(found) // count]) if found else None
        picture = (
            fit(source.convert("RGB"), (height, width))
            if source
            else invent((height, width), random)
        )
        picture.save(folder / f"{number}.jpg", quality=92)
        images.append(
            {"id": number + 1, "file_name": f"{number}.jpg", "width": width, "height": height}
        )
        for _ in range(int(random.geometric(1 / 12.7))):
            annotations.append(
                draw_object(len(annotations) + 1, number + 1, (height, width), random)
            )
    categories = [{"id": i + 1, "name": f"class {i + 1}"} for i in range(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "train.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale until `size` is covered and cut out its middle."""
    height, width = size
    scale = max(height / picture.height, width / picture.width)
    big = picture.resize(
        (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    )
    left, top = (big.width - width) // 2, (big.height - height) // 2
    return big.crop((left, top, left + width, top + height))


def invent(size: tuple[int, int], random: np.random.Generator) -> Image.Image:
    """Noise whose amplitude falls as 1 / frequency, as in photographs; colours go together."""
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / max(size))
    layers = [
        np.fft.irfft2(amplitude * np.fft.rfft2(random.normal(size=size)), s=size) for _ in range(4)
    ]
    pixels = np.stack([layers[3] + 0.3 * layer for layer in layers[:3]], axis=2)
    pixels = 127 + 60 * (pixels - pixels.mean()) / pixels.std()
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_object(
    number: int, image: int, size: tuple[int, int], random: np.random.Generator
) -> dict:
    """A ragged blob of one or two parts, of any scale from 8 pixels to half the image."""
    diameter = np.exp(random.uniform(np.log(8), np.log(min(size) / 2)))
    centre = random.uniform(diameter / 2, np.array(size[::-1]) - diameter / 2)
    parts = []
    for _ in range(1 + int(random.random() < 0.2)):
        corners = int(random.integers(10, 61))
        angles = np.sort(random.uniform(0, 2 * np.pi, corners))
        radii = diameter / 2 * random.uniform(0.6, 1, corners)
        ring = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        parts.append(ring.round(2).reshape(-1).tolist())
        centre = np.clip(centre + diameter / 3, diameter / 2, np.array(size[::-1]) - diameter / 2)
    points = np.concatenate(parts).reshape(-1, 2)
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    return {
        "id": number,
        "image_id": image,
        "category_id": int(random.integers(1, CLASSES + 1)),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1) / 2,
        "iscrowd": 0,
        "segmentation": parts,
    }


class PlainDataset(Dataset):
    """As torchvision's tutorials write it."""

    def __init__(self, path: Path, *, masks: bool, normalise: bool, flip: float = 0.5) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        self.folder, self.images, self.masks = path.parent, content["images"], masks
        self.objects: dict[int, list[dict]] = {image["id"]: [] for image in self.images}
        for annotation in content["annotations"]:
            self.objects[annotation["image_id"]].append(annotation)
        last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)] if normalise else []
        resize = v2.Resize(SHORT, max_size=LONG)
        self.transform = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(flip), resize, *last])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        image = self.images[index]
        objects = self.objects[image["id"]]
        size = (image["height"], image["width"])
        boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        target: dict[str, Any] = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
            "labels": torch.tensor([one["category_id"] - 1 for one in objects]),
        }
        if self.masks:
            runs = [
                coco_mask.merge(coco_mask.frPyObjects(o["segmentation"], *size)) for o in objects
            ]
            stack = torch.from_numpy(coco_mask.decode(runs).transpose(2, 0, 1))
            target["masks"] = tv_tensors.Mask(stack)
        picture = Image.open(self.folder / image["file_name"]).convert("RGB")
        return self.transform(picture, target)


def pad(samples: list[tuple[Any, dict[str, Any]]]) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Images into one tensor, zeros around them."""
    height, width = (-(-max(s[0].shape[a] for s in samples) // 32) * 32 for a in (1, 2))
    batch = samples[0][0].new_zeros(len(samples), 3, height, width)
    for place, (image, _) in zip(batch, samples, strict=True):
        place[:, : image.shape[1], : image.shape[2]].copy_(image)
    return batch, [target for _, target in samples]


def plain(path: Path, *, masks: bool, normalise: bool = True) -> Iterator[Any]:
    """Endless batches of the plain pipeline."""
    dataset = PlainDataset(path, masks=masks, normalise=normalise)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, collate_fn=pad, drop_last=True)
    while True:
        yield from loader


def our_dataset(path: Path, *, masks: bool, flip: float) -> tuple[DetectionDataset, DataConfig]:
    """Our training split, and the settings it was built from."""
    split = {"annotations": path, "images": [path.parent]}
    resize = {"kind": "short_side", "short": [SHORT], "long": LONG}
    config = DataConfig.model_validate(
        {
            "dataset": {"kind": "coco", "train": split, "val": split},
            "train_transforms": {"resize": resize, "horizontal_flip": flip},
            "workers": 0,
        }
    )
    train = build_datasets(config, seed=0, splits=("train",), masks=masks).train
    assert train is not None
    return train, config


def ours(path: Path, *, masks: bool, normalise: bool = False, draw: bool = False) -> Iterator[Any]:
    """Endless batches of ours."""
    train, config = our_dataset(path, masks=masks, flip=0.5)
    scale = torch.tensor(STD).reshape(3, 1, 1) * 255
    shift = torch.tensor(MEAN).reshape(3, 1, 1) * 255
    for batch in build_train_loader(train, config, batch_size=BATCH, seed=0):
        if normalise:
            batch.images.pixels.float().sub_(shift).div_(scale)
        if draw:
            for target, size in zip(batch.targets, batch.images.sizes, strict=True):
                to_outlines(target["masks"]).to_bitmaps(size)
        yield batch


def differences(path: Path, images: int) -> str:
    """How far the two pipelines are apart where they flip nothing.

    torchvision cuts the longer side off to whole pixels where we round it: images for which this
    differs are left out.
    """
    theirs = PlainDataset(path, masks=True, normalise=False, flip=0)
    train, _ = our_dataset(path, masks=True, flip=0)
    pixels, boxes, masks = [], [], []
    for index in range(images):
        image, target = theirs[index]
        sample = train[index]
        if image.shape != sample["image"].shape:
            continue
        pixels.append((image.int() - sample["image"].int()).abs().float().mean().item())
        boxes.append((target["boxes"] - sample["target"]["boxes"]).abs().max().item())
        ours = to_outlines(sample["target"]["masks"]).to_bitmaps(tuple(image.shape[1:]))
        covered = torch.from_numpy(ours).bool(), target["masks"].bool()
        masks.append(((covered[0] & covered[1]).sum() / (covered[0] | covered[1]).sum()).item())
    return (
        f"same input: pixels differ by {np.mean(pixels):.2f} levels of 256 in the mean, corners "
        f"of boxes by {max(boxes):.4f} pixels at most, masks overlap by {np.mean(masks):.3f} (IoU)"
    )


def milliseconds(pipelines: dict[str, Iterator[Any]], images: int, rounds: int) -> dict[str, float]:
    """CPU milliseconds an image; the pipelines take turns."""
    least = dict.fromkeys(pipelines, float("inf"))
    for pipeline in pipelines.values():
        next(pipeline)
    for _ in range(rounds):
        for name, pipeline in pipelines.items():
            start = time.process_time()
            for _ in islice(pipeline, images // BATCH):
                pass
            taken = (time.process_time() - start) / (images // BATCH * BATCH)
            least[name] = min(least[name], 1000 * taken)
    return least


def table(title: str, pipelines: dict[str, Iterator[Any]], images: int, rounds: int) -> None:
    """Print a table; the first pipeline is what the others are compared with."""
    least = milliseconds(pipelines, images, rounds)
    first = next(iter(least.values()))
    print(f"\n{title}\n\n| | ms an image | images a second | ratio |\n|---|---|---|---|")
    for name, one in least.items():
        print(f"| {name} | {one:.1f} | {1000 / one:.1f} | {first / one:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, help="folder with photographs, searched below")
    parser.add_argument("--images", type=int, default=96, help="of the set, and of a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        path = make_set(Path(folder), arguments.photographs, arguments.images)
        print(differences(path, min(8, arguments.images)))
        boxes = {
            "torchvision, normalised": plain(path, masks=False),
            "ours, bytes": ours(path, masks=False),
            "torchvision, bytes": plain(path, masks=False, normalise=False),
            "ours, normalised": ours(path, masks=False, normalise=True),
        }
        table("Boxes", boxes, arguments.images, arguments.rounds)
        masks = {
            "torchvision, normalised, bitmaps": plain(path, masks=True),
            "ours, bytes, outlines": ours(path, masks=True),
            "torchvision, bytes, bitmaps": plain(path, masks=True, normalise=False),
            "ours, normalised, bitmaps": ours(path, masks=True, normalise=True, draw=True),
        }
        table("Boxes and masks", masks, arguments.images, arguments.rounds)


if __name__ == "__main__":
    main()
