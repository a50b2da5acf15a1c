"""Programs on disk, ONNX's and torch's, and how to run them."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dense_lt.export.parity import Program
from dense_lt.export.suppression import onnx_translations
from dense_lt.export.tracing import quiet
from dense_lt.utils.errors import ConfigError

Format = Literal["onnx", "torch"]

METADATA_FILE = "dense_lt.json"
"""In a .pt2 file: an object of the texts that are the properties of an ONNX file."""


def require_packages(format: Format) -> None:
    """Refuse what cannot be written here.

    Raises:
        ConfigError: a package is missing.
    """
    if format == "torch":
        return
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ConfigError(
                f"--format onnx needs the package {package} ({error}); install it with "
                "`pip install dense_lt[export]`, or give --format torch"
            ) from error


def write(
    program: ExportedProgram,
    path: Path,
    format: Format,
    *,
    names: Sequence[str],
    metadata: Mapping[str, str],
) -> None:
    """Write `program` with outputs `names`.

    `metadata` become properties of an ONNX model, or the JSON file `METADATA_FILE` in a .pt2.

    Raises:
        ConfigError: an operator has no counterpart in ONNX.
    """
    with quiet():
        if format == "torch":
            content = io.BytesIO()  # torch wants .pt2 at the end of a name
            extra = {METADATA_FILE: json.dumps(dict(metadata))}
            torch.export.save(program, content, extra_files=extra)
            path.write_bytes(content.getvalue())
        else:
            _write_onnx(program, path, names, metadata)


def _write_onnx(
    program: ExportedProgram, path: Path, names: Sequence[str], metadata: Mapping[str, str]
) -> None:
    try:
        converted = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            output_names=list(names),
            custom_translation_table=onnx_translations(),
        )
    except RuntimeError as error:
        raise ConfigError(
            f"torch.onnx cannot write this detector: {_reason(error)}. Give --format torch"
        ) from error
    assert converted is not None, "the exporter through torch.export gives a program"
    converted.model.metadata_props.update(metadata)
    converted.save(str(path), external_data=False)


def read(path: Path, format: Format) -> Program:
    """The program of a file; ONNX's runs in onnxruntime, on the CPU."""
    if format == "torch":
        with quiet():
            return torch.export.load(io.BytesIO(path.read_bytes())).module()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )

    def run(pixels: Tensor, sizes: Tensor) -> list[Tensor]:
        outputs = session.run(None, {"pixels": pixels.numpy(), "sizes": sizes.numpy()})
        return [torch.as_tensor(output) for output in outputs]

    return run


def _reason(error: Exception) -> str:
    """The line of an exporter's long message that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("<class")]
    return told[-1].partition(": ")[2] if told else (lines or [type(error).__name__])[0]
