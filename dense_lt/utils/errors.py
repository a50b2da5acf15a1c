"""The errors a user or a machine can cause; everything else raised is a fault of the program."""

_NOTE = "in process"


class ConfigError(ValueError):
    """A setting is missing, misspelt, out of range or impossible together with another one."""


class DataError(ValueError):
    """A file of the user's (annotations, images, predictions, checkpoint) cannot be used as is."""


class BadImageError(DataError):
    """An image that is missing or cannot be decoded, or with which its annotations disagree."""


class MachineError(RuntimeError):
    """Memory, a disk or a helper process gave out; neither the settings nor the data are wrong."""


def of_one_process(error: Exception, rank: int) -> None:
    """Note that `error` is raised in process `rank` alone, which then has to say so itself."""
    error.add_note(f"{_NOTE} {rank} of the run")


def is_of_one_process(error: Exception) -> bool:
    """Whether other processes know nothing of `error`."""
    return any(note.startswith(_NOTE) for note in getattr(error, "__notes__", []))
