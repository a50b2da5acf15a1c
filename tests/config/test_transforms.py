from pathlib import Path

import pytest

from dense_lt.config.load import load_config
from dense_lt.config.transforms import (
    AffineConfig,
    CopyPasteConfig,
    HsvConfig,
    LargeScaleJitterConfig,
    LongSideConfig,
    MixupConfig,
    MosaicConfig,
    ResizeConfig,
)
from dense_lt.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
BASES = ROOT / "configs" / "_base"
MINIMAL = "name: run\nschedule: {kind: step, milestones: [8, 11]}\ntrain: {steps: 12}\n"
FALLING = "{kind: large_scale_jitter, scales: [2, 1]}"


@pytest.fixture
def load(tmp_path):
    def load(*overrides, bases=()):
        path = tmp_path / "run.yaml"
        path.write_text(f"base: {[str(BASES / base) for base in bases]}\n" + MINIMAL)
        return load_config(path, list(overrides)).data

    return load


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mosaic.size=640", "mosaic.size: expected a list"),
        ("mosaic.probability=2", "mosaic.probability: input should be less than or equal to 1"),
        ("affine.scale=[2,1]", r"affine: `scale` must rise, got \[2, 1\]"),
        ("affine.shear=50", "affine.shear: input should be less than 45"),
        ("mixup.scale=[0,1]", "mixup.scale.0: input should be greater than 0"),
        ("copy_paste.images=[3,1]", r"copy_paste: `images` must rise, got \[3, 1\]"),
        ("copy_paste.rule=rare", "copy_paste.rule: input should be 'uniform', 'inverse_square"),
        ("copy_paste.min_visible=1", "copy_paste.min_visible: input should be less than 1"),
        ("copy_past.rule=uniform", "unknown key; did you mean copy_paste?"),
        ("unmixed_last_epochs=-1", "unmixed_last_epochs: input should be greater than or equal"),
        ("fill=300", "fill: input should be less than or equal to 255"),
        ("hsv.hue=2", "hsv.hue: input should be less than or equal to 1"),
        ("resize.kind=square", "resize: unknown kind 'square'; allowed: short_side, long_side, la"),
        ("resize={kind: long_side, sizes: []}", "resize.sizes: .*at least 1 item"),
        (f"resize={FALLING}", r"resize: `scales` must rise, got \[2, 1\]"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_its_mend(load, override, message):
    with pytest.raises(ConfigError, match=f"data.train_transforms.*{message}"):
        load(f"data.train_transforms.{override}")


@pytest.mark.parametrize(
    "override", ["mosaic={}", "copy_paste={}", "hsv={}", "resize={kind: large_scale_jitter}"]
)
def test_validation_is_not_augmented(load, override):
    with pytest.raises(ConfigError, match="`val_transforms` may only set `resize`"):
        load(f"data.val_transforms.{override}")


def test_sizes_of_the_short_side_need_no_kind(load):
    resize = load("data.train_transforms.resize.short=[640,800]").train_transforms.resize
    assert (resize.kind, resize.short, resize.long) == ("short_side", (640, 800), 1333)


def test_the_base_of_yolox_restates_the_published_run(load):
    """Sizes of 15 to 25 times 32 pixels, drawn by every image; the last 15 epochs unmixed."""
    data = load(bases=["yolox_augmentation.yaml"])
    train = data.train_transforms
    assert (train.mosaic.probability, train.mosaic.size) == (1, (640, 640))
    affine = train.affine
    assert (affine.degrees, affine.translate, affine.scale, affine.shear) == (10, 0.1, (0.1, 2), 2)
    assert (train.mixup.probability, train.mixup.scale, train.mixup.flip) == (1, (0.8, 1.6), 0)
    assert (train.hsv.hue, train.hsv.saturation, train.hsv.value) == (0.015, 0.7, 0.4)
    assert train.horizontal_flip == 0.5
    assert train.unmixed_last_epochs == 15
    assert train.resize.sizes == tuple(32 * count for count in range(15, 26))
    assert train.resize.per == "image"
    assert data.val_transforms.resize.sizes == (640,)


def test_the_base_of_copy_paste_restates_simple_copy_paste(load):
    train = load(bases=["copy_paste.yaml"]).train_transforms
    assert (train.resize.size, train.resize.scales) == ((1024, 1024), (0.1, 2.0))
    assert (train.copy_paste.images, train.copy_paste.companions) == ((1, 1), 0.5)


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("mosaic", MosaicConfig),
        ("affine", AffineConfig),
        ("mixup", MixupConfig),
        ("copy_paste", CopyPasteConfig),
        ("large_scale_jitter", LargeScaleJitterConfig),
        ("short_side", ResizeConfig),
        ("long_side", LongSideConfig),
        ("hsv", HsvConfig),
    ],
)
def test_the_page_lists_every_key_with_its_default(name, section):
    page = (ROOT / "docs" / "augmentation.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith(f"| `{name}.")]
    fields = {key: field.default for key, field in section.model_fields.items() if key != "kind"}
    assert len(rows) == len(fields)
    for row, (key, default) in zip(rows, fields.items(), strict=True):
        assert row.startswith(f"| `{name}.{key}` | {_written(default)} | ")


def _written(default) -> str:
    if isinstance(default, tuple):
        return f"[{', '.join(map(_written, default))}]"
    return default if isinstance(default, str) else f"{default:g}"
