"""Evaluate runs, score predictions, compare: ``python eval.py RUN | score ... | compare ...``.

The same as ``dense-lt eval``.
"""

import sys

from dense_lt.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
