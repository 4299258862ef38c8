"""Every error that wrong input can raise.

Each message says what came, what was wanted and what to do. All classes take one string, so that they pickle and reach
the user whole from a Dask worker.
"""

from __future__ import annotations


class XatmoError(Exception):
    """Base of every error raised for wrong input."""


class DimensionError(XatmoError, ValueError):
    """A dimension is missing, repeated, or has the wrong size."""


class CoordinateError(XatmoError, ValueError):
    """A coordinate is missing, ambiguous, or holds values that cannot be used."""


class UnitsError(XatmoError, ValueError):
    """Units are missing or cannot be converted to those wanted."""


class GridError(XatmoError, ValueError):
    """A method cannot serve this kind of horizontal grid."""


class ChunkError(XatmoError, ValueError):
    """A dimension that has to be whole is split into Dask chunks."""


class MissingValueError(XatmoError, ValueError):
    """A NaN or infinity stands where the method needs a finite number."""


class OptionError(XatmoError, ValueError):
    """A keyword has a value that is not among the possible ones."""


class VariableError(XatmoError, KeyError):
    """A variable is missing from a Dataset."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument; a message is to be read.
        return str(self.args[0]) if self.args else ""


class CatalogError(XatmoError, ValueError):
    """A catalog, an entry, or one of its parameters is unknown or invalid."""


class ConfigError(XatmoError, ValueError):
    """A configuration is incomplete, contradictory, or differs from the one a run was started with."""


class NotFittedError(XatmoError, RuntimeError):
    """A model or a normalizer is used before it was fitted."""


class CheckpointError(XatmoError, RuntimeError):
    """A saved model or checkpoint is missing, truncated, or not one of ours."""


class ProcessError(XatmoError, RuntimeError):
    """One of several processes that work together is gone."""


class MissingDependencyError(XatmoError, ImportError):
    """An optional package is needed and not installed."""
