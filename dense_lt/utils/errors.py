"""The errors a user can cause; everything else that is raised is a fault of the program."""


class ConfigError(ValueError):
    """A setting is missing, misspelt, out of range or impossible together with another one."""


class DataError(ValueError):
    """A file of the user's (annotations, images, predictions, checkpoint) cannot be used as is."""


class BadImageError(DataError):
    """An image that is missing or cannot be decoded, or with which its annotations disagree."""
