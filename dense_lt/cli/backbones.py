"""`dense-lt backbones [PATTERN]`: the timm models that give feature maps at several strides."""

from __future__ import annotations

import argparse
import sys

HELP = "list the timm backbones that can feed a feature pyramid"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="resnet*",
        help="shell pattern of names, such as 'convnext*' (default: resnet*; '*' takes minutes)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print one name a line; 1 if none matches, and then why."""
    from dense_lt.models.backbone import usable_backbones, why_no_backbone

    found = False
    for name in usable_backbones(arguments.pattern):
        found = True
        print(name, flush=True)  # noqa: T201 - the command's output
    if not found:
        print(why_no_backbone(arguments.pattern), file=sys.stderr)  # noqa: T201 - likewise
    return 0 if found else 1
