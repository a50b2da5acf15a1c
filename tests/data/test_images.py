import numpy as np
import pytest
from PIL import Image, ImageOps

from dense_lt.data.images import BadImageError, read_image
from dense_lt.data.upright import read_upright
from dense_lt.utils.errors import MachineError

SIZE = (30, 40)
"""Height and width of the test picture: bands of red, green and blue, from left to right."""


def _bands() -> np.ndarray:
    pixels = np.zeros((*SIZE, 3), dtype=np.uint8)
    pixels[:, :13, 0] = pixels[:, 13:26, 1] = pixels[:, 26:, 2] = 200
    return pixels


def _greys() -> np.ndarray:
    return np.repeat(np.linspace(0, 255, SIZE[1]).astype(np.uint8)[None], SIZE[0], axis=0)


def _is_bands(pixels: np.ndarray) -> bool:
    assert pixels.shape == (*SIZE, 3)
    assert pixels.dtype == np.uint8
    picked = pixels[15, [5, 20, 33]].argmax(axis=1)
    return picked.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["rgb.png", "rgb.jpg", "rgb.bmp", "rgb.webp", "rgb.tif"])
def test_ordinary_files_are_read_as_rgb(tmp_path, name):
    Image.fromarray(_bands()).save(tmp_path / name)
    assert _is_bands(read_image(tmp_path / name, SIZE))


@pytest.mark.parametrize(
    ("mode", "name"), [("P", "a.png"), ("P", "a.gif"), ("RGBA", "a.png"), ("CMYK", "a.jpg")]
)
def test_palette_transparency_and_print_colours_become_rgb(tmp_path, mode, name):
    Image.fromarray(_bands()).convert(mode).save(tmp_path / name)
    assert _is_bands(read_image(tmp_path / name, SIZE))


def test_a_palette_with_a_transparent_colour_keeps_its_colours(tmp_path):
    Image.fromarray(_bands()).convert("P").save(tmp_path / "a.png", transparency=0)
    assert _is_bands(read_image(tmp_path / "a.png", SIZE))


@pytest.mark.parametrize(("mode", "name"), [("L", "a.png"), ("L", "a.jpg"), ("LA", "a.png")])
def test_grey_becomes_three_equal_channels(tmp_path, mode, name):
    Image.fromarray(_greys()).convert(mode).save(tmp_path / name)
    pixels = read_image(tmp_path / name, SIZE)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert np.abs(pixels[..., 1].astype(int) - _greys()).max() <= 3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_become_eight(tmp_path, name):
    Image.fromarray(_greys().astype(np.uint16) * 257).save(tmp_path / name)
    assert (read_image(tmp_path / name, SIZE)[..., 0] == _greys()).all()


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path):
    Image.fromarray(_greys().astype(np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", SIZE).max() == 1


@pytest.mark.parametrize("read", [lambda path: read_image(path, SIZE), read_upright])
def test_floating_point_pixels_are_refused(tmp_path, read):
    Image.fromarray(_greys().astype(np.float32) / 255).save(tmp_path / "a.tif")
    with pytest.raises(BadImageError, match="cannot be decoded: its pixels are floating") as told:
        read(tmp_path / "a.tif")
    assert str(told.value).count("a.tif") == 1


def _save_rotated(path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(_bands()).save(path, exif=exif)


def test_a_rotation_mark_is_ignored_where_the_stored_pixels_have_the_annotated_size(tmp_path):
    _save_rotated(tmp_path / "a.jpg", 6)
    assert _is_bands(read_image(tmp_path / "a.jpg", SIZE))


def test_a_rotation_mark_is_obeyed_where_only_the_turned_image_has_the_annotated_size(tmp_path):
    _save_rotated(tmp_path / "a.jpg", 6)  # shown turned by 90 degrees, clockwise
    pixels = read_image(tmp_path / "a.jpg", SIZE[::-1])
    assert pixels[[5, 20, 33], 15].argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("mark", range(1, 9))
def test_marks_are_obeyed_or_ignored_on_request(tmp_path, name, mark):
    _save_rotated(tmp_path / name, mark)
    with Image.open(tmp_path / name) as file:
        expected = np.asarray(ImageOps.exif_transpose(file).convert("RGB")).astype(int)
    obeyed = read_image(tmp_path / name, expected.shape[:2], exif="obey")
    assert np.abs(obeyed - expected).max() <= 2
    assert _is_bands(obeyed) if mark in (1, 4) else not _is_upright_bands(obeyed)
    assert _is_bands(read_image(tmp_path / name, SIZE, exif="ignore"))
    assert _is_bands(read_image(tmp_path / name, SIZE))


def _is_upright_bands(pixels: np.ndarray) -> bool:
    return pixels.shape == (*SIZE, 3) and _is_bands(pixels)


def test_a_size_that_only_another_rule_gives_names_the_setting(tmp_path):
    _save_rotated(tmp_path / "a.jpg", 6)
    with pytest.raises(BadImageError, match=r"is 30 x 40 .* or another data\.exif than obey"):
        read_image(tmp_path / "a.jpg", SIZE, exif="obey")


@pytest.mark.parametrize(
    ("mark", "square", "doubted"),
    [
        *((1, True, False), (2, False, True), (3, False, True), (4, False, True)),
        *((5, False, False), (8, False, False), (6, True, True), (99, True, False)),
    ],
)
def test_a_mark_that_the_size_does_not_judge_is_a_doubt(tmp_path, mark, square, doubted):
    exif = Image.Exif()
    exif[0x0112] = mark
    pixels = _bands()[:, :30] if square else _bands()
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    doubts: list[str] = []
    read_image(tmp_path / "a.jpg", pixels.shape[:2], doubt=doubts.append)
    assert len(doubts) == doubted
    if doubts:
        assert f"a.jpg: its EXIF orientation is {mark}" in doubts[0]
        assert "set data.exif to `obey` or `ignore`" in doubts[0]
    read_image(tmp_path / "a.jpg", pixels.shape[:2], exif="ignore", doubt=doubts.append)
    assert len(doubts) == doubted  # the setting has decided


def test_a_broken_mark_is_none(tmp_path):
    Image.fromarray(_bands()).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff")
    assert _is_bands(read_image(tmp_path / "a.jpg", SIZE, exif="obey"))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("mark", range(1, 9))
@pytest.mark.parametrize("width", [30, 40])
def test_images_without_annotations_are_always_turned(tmp_path, name, mark, width):
    exif = Image.Exif()
    exif[0x0112] = mark
    Image.fromarray(_bands()[:, :width]).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as file:
        shown = np.asarray(ImageOps.exif_transpose(file).convert("RGB")).astype(int)
    pixels = read_upright(tmp_path / name)
    assert pixels.shape == shown.shape
    assert np.abs(pixels - shown).max() <= 2


@pytest.mark.parametrize("mark", range(1, 9))
def test_grey_tiff_files_are_turned_as_others(tmp_path, mark):
    exif = Image.Exif()
    exif[0x0112] = mark
    for name in ("a.png", "a.tif"):
        Image.fromarray(_greys()).save(tmp_path / name, exif=exif)
    assert (read_upright(tmp_path / "a.tif") == read_upright(tmp_path / "a.png")).all()


def test_another_size_than_annotated_names_both(tmp_path):
    Image.fromarray(_bands()).save(tmp_path / "a.png")
    with pytest.raises(BadImageError, match=r"a.png: is 40 x 30 pixels.*annotations say 20 x 50"):
        read_image(tmp_path / "a.png", (50, 20))


@pytest.mark.parametrize("folder", ["", "gone"])
def test_a_folder_that_is_empty_or_gone_is_not_taken_for_a_missing_image(tmp_path, folder):
    """As the place of a disk that is not mounted any more."""
    with pytest.raises(MachineError, match=r"is not any more\. Mount or restore it"):
        read_image(tmp_path / folder / "a.png", SIZE)


def test_a_missing_image_names_itself(tmp_path):
    (tmp_path / "b.png").touch()
    with pytest.raises(BadImageError, match=r"a.png: there is no such image"):
        read_image(tmp_path / "a.png", SIZE)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tif", "a.webp"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.6])
def test_a_cut_off_image_names_itself(tmp_path, name, part):
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * part)])
    with pytest.raises(BadImageError, match=f"{name}: "):
        read_image(tmp_path / name, SIZE)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_file_has_the_pixels_that_pillow_finds(tmp_path, mode, subsampling, progressive):
    noise = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).convert(mode).save(path, quality=80, progressive=progressive, **options)
    with Image.open(path) as file:
        expected = np.asarray(file.convert("RGB"))
    assert (read_image(path, (61, 83)) == expected).all()


def test_damaged_jpeg_files_fare_as_with_pillow(tmp_path):
    """Most damage only changes pixels; what the decoder cannot get over must be told."""
    random = np.random.default_rng(0)
    path = tmp_path / "a.jpg"
    Image.fromarray(random.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        content[random.integers(2, len(whole) - 2)] = random.integers(0, 256)
        path.write_bytes(content)
        try:
            with Image.open(path) as file:
                expected = np.asarray(file.convert("RGB"))
        except (OSError, SyntaxError, ValueError):
            expected = np.zeros((0, 0, 3))
        if expected.shape == (*SIZE, 3):
            assert (read_image(path, SIZE) == expected).all()
        else:
            refused += 1
            with pytest.raises(BadImageError, match=r"a\.jpg: "):
                read_image(path, SIZE)
    assert refused > 0


@pytest.mark.parametrize(
    ("short_side", "size"),
    [(None, (61, 83)), (31, (61, 83)), (30, (31, 42)), (16, (31, 42)), (7, (8, 11)), (1, (8, 11))],
)
def test_a_jpeg_file_is_decoded_smaller_while_its_shorter_side_stays_long_enough(
    tmp_path, short_side, size
):
    """61 x 83: half of the shorter side is 30.5 pixels, a quarter 15.25, an eighth 7.6."""
    slope = np.linspace(0, 255, 83).astype(np.uint8)
    Image.fromarray(np.tile(slope, (61, 1))).save(tmp_path / "a.jpg", quality=95)
    pixels = read_image(tmp_path / "a.jpg", (61, 83), short_side=short_side)
    assert pixels.shape == (*size, 3)
    expected = np.interp(np.linspace(0, 1, size[1]), np.linspace(0, 1, 83), slope)
    assert np.abs(pixels[0, :, 0] - expected).mean() < 8


def test_other_files_and_turned_ones_are_never_decoded_smaller(tmp_path):
    Image.fromarray(_bands()).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", SIZE, short_side=1).shape == (*SIZE, 3)
    _save_rotated(tmp_path / "a.jpg", 6)
    assert read_image(tmp_path / "a.jpg", SIZE[::-1], short_side=1).shape == (*SIZE[::-1], 3)
