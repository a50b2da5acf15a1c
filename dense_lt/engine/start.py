"""What a run starts from: weights of another run, and what of them does not train."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from dense_lt.balance.statistics import named_statistics
from dense_lt.engine.checkpoint import latest_checkpoint, load_checkpoint
from dense_lt.utils.errors import ConfigError, DataError
from dense_lt.utils.weight_files import read_weights

_logger = logging.getLogger(__name__)

_NAMES_SHOWN = 4


def init_from(detector: nn.Module, path: Path, *, leave_out: Sequence[str] = ()) -> str:
    """Load the tensors of `path` that have the name and shape of the detector's.

    Gradient statistics stay as they are: they belong to the run that collected them.

    Args:
        detector: is changed.
        path: a run folder, a checkpoint, or a file of weights.
        leave_out: patterns of names that are not loaded.

    Returns:
        An account of what was loaded and what was not, for the log.

    Raises:
        DataError: the file cannot be read, or nothing in it fits.
        ConfigError: a pattern matches no tensor.
    """
    stored, own = _read(path), dict(detector.state_dict())
    statistics = tuple(f"{name}." for name in named_statistics(detector))
    wanted = {name for name in own if not name.startswith(statistics)} if statistics else set(own)
    kept = matching(wanted, leave_out, "model.init_except")
    shared = (wanted - kept) & stored.keys()
    fitting = {name for name in shared if stored[name].shape == own[name].shape}
    if not fitting:
        raise DataError(
            f"{path}: none of its {len(stored)} tensors has the name and shape of one of the "
            f"model's {len(wanted)}; the file has {_some(stored)}, the model {_some(wanted)}. "
            "Weights of another project need an importer; weights of timm go to "
            "model.backbone.weights"
        )
    _warn_of_other_classes(path, stored, own, fitting)
    detector.load_state_dict({name: stored[name] for name in fitting}, strict=False)
    unused = {name for name in stored.keys() - own.keys() if not name.startswith(statistics or "/")}
    shapes = [
        f"{name} {tuple(stored[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(shared - fitting)
    ]
    parts = {
        "left out by model.init_except": sorted(kept),
        "of another shape": shapes,
        "not in the file": sorted(wanted - kept - stored.keys()),
        "in the file only": sorted(unused),
    }
    lines = [f"{what}: {len(names)} ({_some(names)})" for what, names in parts.items() if names]
    loaded = f"model.init_from={path}: {len(fitting)} of {len(wanted)} tensors loaded"
    return "\n  ".join([loaded, *lines])


def _warn_of_other_classes(
    path: Path, stored: Mapping[str, Tensor], own: Mapping[str, Tensor], loaded: set[str]
) -> None:
    """Tell when classifiers of as many, but other, classes are loaded, as the trackers know."""
    tables = [name for name in own if name.endswith("class_table") and name in stored]
    heads = (name for name in loaded if not name.startswith("proposals."))  # those know no class
    classifiers = sorted(name for name in heads if "classifier" in name.split("."))
    pairs = [(int(stored[name]), int(own[name])) for name in tables]
    if classifiers and any(old and new and old != new for old, new in pairs):
        patterns = sorted({f"{name.rpartition('.')[0]}.*" for name in classifiers})
        _logger.warning(
            "model.init_from=%s: it was trained with other classes than these data have, or with "
            "another order of them, and its classifier is taken over: each of its rows means "
            "another class now. model.init_except=[%s] leaves it out",
            path,
            ", ".join(patterns),
        )


def freeze(module: nn.Module, patterns: Sequence[str]) -> int:
    """Keep the parameters whose names match as they are; returns how many numbers that is.

    A part of the model that is frozen as a whole stays in evaluation mode, its norms and dropout
    with it.

    Raises:
        ConfigError: a pattern matches no parameter, or nothing is left to train.
    """
    if not patterns:
        return 0
    parameters = dict(module.named_parameters())
    frozen = matching(parameters, patterns, "model.frozen")
    for name in frozen:
        parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(f"model.frozen: {list(patterns)} leaves no parameter to train")
    for part in module.modules():
        own = list(part.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            part.eval()
            for below in part.modules():
                below.train = partial(_stay_in_evaluation, below)  # type: ignore[method-assign]
    return sum(parameters[name].numel() for name in frozen)


def matching(names: Mapping[str, object] | set[str], patterns: Sequence[str], key: str) -> set[str]:
    """The names that shell patterns match, one after the other; `!` takes names out again.

    Raises:
        ConfigError: a pattern matches none, or takes none out; `key` is the setting.
    """
    found: set[str] = set()
    for pattern in patterns:
        without = pattern.startswith("!")
        among = found if without else set(names)
        hits = {name for name in among if fnmatchcase(name, pattern.removeprefix("!"))}
        if not hits:
            raise ConfigError(
                f"{key}: {pattern!r} matches no name; there are {_some(sorted(among)) or 'none'}"
            )
        found = found - hits if without else found | hits
    return found


def _stay_in_evaluation(module: nn.Module, _mode: bool = True) -> nn.Module:
    return nn.Module.train(module, False)


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.is_dir():
        return load_checkpoint(latest_checkpoint(path)).model
    beside = path.with_suffix(".safetensors")  # the weights of a checkpoint's `step_N.pt`
    path = beside if path.suffix == ".pt" and beside.is_file() else path
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such run or file to take weights from; train that run first, or "
            "set model.init_from to another"
        )
    stored = read_weights(path)
    for key in ("state_dict", "model"):
        inner = stored.get(key)
        if isinstance(inner, Mapping):
            stored = inner
    return {name: value for name, value in stored.items() if isinstance(value, Tensor)}


def _some(names: Mapping[str, object] | set[str] | Sequence[str]) -> str:
    shown = list(names)[:_NAMES_SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > _NAMES_SHOWN else "")
