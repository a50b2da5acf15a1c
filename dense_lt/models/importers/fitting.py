"""Which weights does a file hold, and do they fill a model, all of it and nothing else?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from dense_lt.utils.errors import DataError

_SHOWN = 5


def check_fit(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, source: str, mend: str
) -> None:
    """Refuse weights that lack a tensor of the model, have one more, or one of another shape.

    Args:
        found: imported weights, under our names.
        wanted: what the model needs of them.
        source: whose weights they are, for the message.
        mend: what to do, for the message.

    Raises:
        DataError: they do not fit.
    """
    faults = [f"missing {name}" for name in wanted.keys() - found.keys()]
    faults += [f"unknown {name}" for name in found.keys() - wanted.keys()]
    faults += [
        f"{name} has shape {tuple(found[name].shape)}, the model {tuple(wanted[name].shape)}"
        for name in found.keys() & wanted.keys()
        if found[name].shape != wanted[name].shape
    ]
    if faults:
        shown = "; ".join(sorted(faults)[:_SHOWN]) + ("; ..." if len(faults) > _SHOWN else "")
        raise DataError(
            f"{source} weights: do not fit the model in {len(faults)} tensors: {shown}. {mend}"
        )


def first_state_dict(
    stored: Mapping[str, object], candidates: Iterable[object], *, source: str
) -> dict[str, Tensor]:
    """The first of `candidates`, parts of the file `stored`, that has tensors and nothing else.

    Raises:
        DataError: there is none; `source` says whose weights they should be.
    """
    for candidate in candidates:
        if isinstance(candidate, Mapping) and candidate:
            tensors = {k: v for k, v in candidate.items() if isinstance(v, Tensor)}
            if len(tensors) == len(candidate):
                return tensors
    raise DataError(
        f"{source} weights: the file holds {', '.join(map(str, list(stored)[:5]))}, but no state "
        "dict, neither as a whole nor under `ema`, `model` or `state_dict`; take another"
    )
