import io

import numpy as np
import pytest
from PIL import Image

from dense_lt.data.drawn.png import encode_png


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (80, 80), (200, 300)])
def test_a_reader_gets_the_pixels_back(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        assert image.mode == "RGB"
        assert (np.asarray(image) == pixels).all()


def test_the_bytes_of_one_pixel_are_the_standards():
    """RFC 1951 stored block of 4 bytes (filter 0, then red, green, blue), RFC 1950 around it."""
    content = encode_png(np.array([[[1, 2, 3]]], dtype=np.uint8))
    assert b"\x78\x01\x01\x04\x00\xfb\xff\x00\x01\x02\x03\x00\x0e\x00\x07" in content
