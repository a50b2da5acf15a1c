"""Train a detector: ``python train.py CONFIG [section.key=value ...] [--resume] [--dry-run]``.

The same as ``dense-lt train``.
"""

import sys

from dense_lt.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
