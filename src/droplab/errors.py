"""The errors droplab raises: each says what must hold, what was found and what to do."""


class DroplabError(Exception):
    """Base of every error that droplab raises for a reason its user can act on."""


class ConfigError(DroplabError, ValueError):
    """A setting is out of range, unknown, or contradicts another."""


class DataError(DroplabError, ValueError):
    """A data file or array is not what it must be."""


class FetchError(DroplabError):
    """No source of a data set could be used."""


class StoreError(DroplabError):
    """The store cannot be opened, read or written."""


class StoreBusyError(StoreError):
    """Another program holds the store; it may be free later."""


class ModelFileError(DroplabError, ValueError):
    """A model file is damaged, or was made for other data."""


class ExportError(DroplabError):
    """A network cannot be exported, or the exported one says something else."""


class DeviceError(DroplabError):
    """The device or precision asked for is not there."""


class TrainingError(DroplabError):
    """Training could not go on: a worker died again and again, or the loss is no number."""
