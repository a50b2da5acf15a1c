"""A PNG writer whose bytes depend on the pixels alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np

LARGEST_BLOCK = 65535


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG file of `pixels` (H, W, 3) uint8, RGB, not compressed.

    What a compressor makes of the same pixels differs between zlib and its successors, and drawn
    images hold so much noise that they would hardly shrink. So the pixels are stored as they are.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # column 0: filter type 0
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", _stored(rows.tobytes()))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _stored(content: bytes) -> bytes:
    """A zlib stream (RFC 1950) of stored blocks (RFC 1951, 3.2.4)."""
    pieces = [b"\x78\x01"]
    for start in range(0, len(content), LARGEST_BLOCK):
        block = content[start : start + LARGEST_BLOCK]
        is_last = start + LARGEST_BLOCK >= len(content)
        pieces += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join(pieces) + struct.pack(">I", zlib.adler32(content))
