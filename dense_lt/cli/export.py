"""`dense-lt export`: a trained detector as one file, for ONNX or for torch.export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dense_lt.cli.calibrations import OPTIONS, strength
from dense_lt.utils.errors import ConfigError
from dense_lt.utils.writing import require_writable

if TYPE_CHECKING:
    from dense_lt.export.build import Calibration
    from dense_lt.export.files import Format

HELP = "write a trained detector as an ONNX or torch.export file, compared with PyTorch"

FORMATS: dict[str, Format] = {".onnx": "onnx", ".pt2": "torch"}
CALIBRATIONS = ("norcal", "logit-adjustment", "temperature")


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("--run", required=True, type=Path, dest="run_folder", metavar="RUN")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help=".onnx or .pt2")
    parser.add_argument(
        "--format", choices=("onnx", "torch"), help="default: what the name of FILE says"
    )
    parser.add_argument("--checkpoint", type=Path, help="instead of the newest of the run")
    parser.add_argument(
        "--output",
        choices=("raw", "detections"),
        default="detections",
        help="scores and boxes of all priors or proposals, or what is left of them after "
        "suppression (default: detections)",
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=_side,
        metavar=("HEIGHT", "WIDTH"),
        help="fix the size of the input, in pixels; default: any",
    )
    calibration = parser.add_argument_group(
        "calibration (change the scores by the training counts)"
    ).add_mutually_exclusive_group()
    for name in CALIBRATIONS:
        letter, text = OPTIONS[name]
        calibration.add_argument(f"--{name}", type=strength(name), metavar=letter, help=text)


def run(arguments: argparse.Namespace) -> int:
    """Export, and say how close the file comes to PyTorch."""
    format = _format(arguments)
    if arguments.out.is_dir():
        raise ConfigError(f"--out {arguments.out}: this is a folder; name the file to write in it")
    require_writable(arguments.out, arguments.out.absolute().parent)
    from dense_lt.export.build import export_run

    exported = export_run(
        arguments.run_folder,
        arguments.out,
        format=format,
        output=arguments.output,
        checkpoint=arguments.checkpoint,
        size=arguments.size and tuple(arguments.size),
        calibration=_calibration(arguments),
    )
    megabytes = exported.path.stat().st_size / 2**20
    size = (
        f"images with sides that {exported.multiple_of} divides, from {exported.least_side} on"
        if exported.size is None
        else "images of {} x {} pixels".format(*exported.size)
    )
    print(  # noqa: T201 - the command's output
        f"wrote {exported.path} ({megabytes:.1f} MiB): {exported.classes} classes, batches of any "
        f"number of {size}\nlargest difference to PyTorch: {exported.difference}"
    )
    return 0


def _format(arguments: argparse.Namespace) -> Format:
    named = FORMATS.get(arguments.out.suffix.lower())
    format = arguments.format or named
    if named not in (None, format):
        raise ConfigError(
            f"--out {arguments.out}: the name says {named}, but --format {format}; leave out "
            "--format, or give another name"
        )
    if format is None:
        raise ConfigError(
            f"--out {arguments.out}: the name does not say the format; let it end with "
            f"{' or '.join(FORMATS)}, or give --format"
        )
    return format


def _calibration(arguments: argparse.Namespace) -> Calibration | None:
    given = ((name, getattr(arguments, name.replace("-", "_"))) for name in CALIBRATIONS)
    return next((own for own in given if own[1] is not None), None)  # type: ignore[return-value]


def _side(text: str) -> int:
    side = int(text) if text.isdecimal() else 0
    if side < 32:
        raise argparse.ArgumentTypeError(f"{text!r}: a side is a whole number of pixels from 32 on")
    return side
