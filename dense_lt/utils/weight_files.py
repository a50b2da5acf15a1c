"""Files of weights that came from elsewhere, and what is wrong with those that are none."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dense_lt.utils.errors import DataError

_HEAD = 512
"""Bytes that tell what a file is."""

_UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    LookupError,  # this and the next: what torch makes of bytes that happen to look like a pickle
    struct.error,
    pickle.PickleError,
    SafetensorError,
)


def read_weights(path: Path) -> Mapping[str, object]:
    """What a .safetensors file, or any other of torch, holds; no code in it is run.

    Raises:
        DataError: it is missing, damaged, something else, or holds more than tensors.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of weights")
    damage = _damage(path)
    if damage is not None:
        raise DataError(f"{path}: is no file of weights that can be read: {damage}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with (
            warnings.catch_warnings(action="ignore"),  # "please file an issue", whatever the file
            torch.serialization.safe_globals([Namespace]),  # settings, in files of timm
        ):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise DataError(f"{path}: {_reason(error)}") from error
    if not isinstance(stored, Mapping):
        raise DataError(f"{path}: holds a {type(stored).__name__}, expected a state dict")
    return stored


_AGAIN = "download or copy it again"
_CUT = f"it ends early, as after a download that broke off; {_AGAIN}"


def _damage(path: Path) -> str | None:
    """What a look at the file tells, in the order of what is most often wrong; None for nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return f"it is empty; {_AGAIN}"
    if head.startswith(b"version https://git-lfs"):
        return "it is the pointer that git-lfs leaves for a file; fetch that with `git lfs pull`"
    if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
        return "it is a web page, saved in place of the file; download what that page links to"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"it is text; {_AGAIN}"
    is_zip = head.startswith(b"PK")
    if is_zip and not zipfile.is_zipfile(path):
        return _CUT
    if path.suffix == ".safetensors":
        if is_zip:
            return "it is a file of torch; give it a name that ends with .pth"
        return _CUT if size < _safetensors_size(path) else None
    return None


def _safetensors_size(path: Path) -> int:
    """Bytes that the header of the file asks for; 0 where it is none."""
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        header = file.read(length) if length < 2**30 else b""
    if not header.startswith(b"{") or len(start) < 8:
        return 0
    if len(header) < length:
        return 8 + length
    try:
        ends = [own["data_offsets"][1] for own in json.loads(header).values() if "dtype" in own]
        return 8 + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError):
        return 0


def _reason(error: Exception) -> str:
    """What stopped the reader; without torch's advice to run code that no one has looked at."""
    if isinstance(error, EOFError) or "unexpected EOF" in str(error):
        return f"is no file of weights that can be read: {_CUT}"
    wanted = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
    if wanted:
        return (
            f"cannot be read without running code that it may contain: {wanted[1]}. Where you "
            "trust it, load it with torch, and save its state dict alone: torch.save(loaded["
            "'model'], 'weights.pth'), or loaded['state_dict'] for mmdetection"
        )
    kind = "safetensors" if isinstance(error, SafetensorError) else "torch"
    said = f" ({error})" if isinstance(error, OSError | SafetensorError) else ""
    return f"cannot be read as weights: it is damaged, or no file of {kind}{said}; {_AGAIN}"
