import numpy as np
import torch

from dense_lt.data.batching import to_masks
from dense_lt.data.lettering import Lettering
from dense_lt.data.outlines import Outlines
from dense_lt.data.preview import (
    CROWD_COLOR,
    GAP,
    MOST_LABELS,
    TILE,
    color_of,
    contact_sheet,
    draw_sample,
)
from dense_lt.structures import Batch, ImageBatch, ImageInfo, Target

NAMES = ["one", "two"]


def _image(height: int, width: int) -> torch.Tensor:
    return torch.full((3, height, width), 100, dtype=torch.uint8)


def _target(height: int, width: int, *, masks: bool = False) -> Target:
    boxes = torch.tensor([[width / 4, height / 4, width / 2, height / 2]])
    target: Target = {"boxes": boxes, "labels": torch.tensor([1])}
    if masks:
        target["masks"] = to_masks(Outlines.from_bitmaps(np.ones((1, height, width))))
    return target


def _draw(height: int, width: int, *, masks: bool = False):
    return draw_sample(_image(height, width), _target(height, width, masks=masks), NAMES)


def test_four_samples_stand_in_a_row():
    info = ImageInfo(7, (80, 80), (80, 80))
    pixels = torch.zeros(5, 3, 128, 128, dtype=torch.uint8)
    pixels[:, :, :80, :80] = 100
    batch = Batch(ImageBatch(pixels, ((80, 80),) * 5), [_target(80, 80)] * 5, [info] * 5)
    sheet = contact_sheet(batch, NAMES)
    assert sheet.size == (4 * (TILE + GAP) + GAP, 2 * (TILE + GAP) + GAP)
    assert sheet.getpixel((GAP + TILE - 9, GAP + TILE - 9)) == (100, 100, 100)  # no padding


def test_a_sample_is_scaled_to_its_tile_and_keeps_its_shape():
    assert _draw(40, 80).size == (TILE, TILE // 2)
    assert _draw(2000, 1000).size == (TILE // 2, TILE)


def test_a_box_is_drawn_in_the_colour_of_its_class():
    tile = _draw(80, 80)
    assert tile.getpixel((TILE // 2 - 1, TILE // 2 - 5)) == color_of(1)
    assert tile.getpixel((TILE // 2 + 5, TILE // 2 + 5)) == (100, 100, 100)


def test_a_mask_tints_what_it_covers():
    plain, tinted = (np.asarray(_draw(80, 80, masks=masks)) for masks in (False, True))
    assert (plain[300, 300] != tinted[300, 300]).any()


def test_a_name_in_any_script_can_be_drawn():
    draw_sample(_image(80, 80), _target(80, 80), ["one", "自転車"])


def test_an_image_without_objects_is_drawn():
    nothing: Target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    assert draw_sample(_image(80, 80), nothing, []).size == (TILE, TILE)


def test_a_region_that_is_ignored_is_dashed_in_grey():
    target: Target = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "ignored": torch.tensor([[20.0, 20, 60, 60]]),
    }
    tile = np.asarray(draw_sample(_image(80, 80), target, NAMES))
    grey = (tile == CROWD_COLOR).all(axis=-1)
    lower, right = grey[60 * TILE // 80 - 1], grey[:, 60 * TILE // 80 - 1]
    for side in (lower, right):
        assert 0.4 < side[20 * TILE // 80 : 60 * TILE // 80].mean() < 0.7
    assert not grey[: 20 * TILE // 80 - 1].any()


def test_names_are_left_out_where_they_would_hide_the_picture():
    def drawn(objects: int) -> np.ndarray:
        boxes = torch.tensor([[20.0, 40, 60, 60]]).repeat(objects, 1)
        target: Target = {"boxes": boxes, "labels": torch.ones(objects, dtype=torch.int64)}
        return np.asarray(draw_sample(_image(80, 80), target, NAMES))

    few, many = drawn(MOST_LABELS), drawn(MOST_LABELS + 1)
    assert not (few == many).all()
    assert (many != 100).sum() < (few != 100).sum()  # the box alone


def test_a_sample_is_captioned_with_the_name_of_its_file():
    info = ImageInfo(7, (80, 80), (80, 80))
    batch = Batch(ImageBatch(_image(80, 80)[None], ((80, 80),)), [_target(80, 80)], [info])
    sheets = [contact_sheet(batch, NAMES, captions) for captions in (None, {7: "street.jpg"})]
    tiles = [np.asarray(sheet)[GAP : GAP + TILE, GAP : GAP + TILE] for sheet in sheets]
    lettering = Lettering([*NAMES, "street.jpg"])
    expected = draw_sample(_image(80, 80), _target(80, 80), NAMES, "street.jpg", lettering)
    assert (tiles[1] == np.asarray(expected)).all()
    assert (tiles[0] != tiles[1]).any()
