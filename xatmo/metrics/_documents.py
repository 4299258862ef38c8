"""What docstrings of scores say alike, written once: their parameters, returns and errors."""

from __future__ import annotations

from typing import Any

_PAIR = """
    Parameters
    ----------
    prediction : Dataset or DataArray
    target : Dataset or DataArray
        On the same labels as the prediction, in any order of rows, longitude range and convertible units. Scores are
        in its units.
    dim : str or sequence of str, optional
        Dimensions to average over; all that the two share unless given. ``dim="time"`` gives maps.
    weights : "area", DataArray or None
        Cell areas, where the fields have latitudes and longitudes; the caller's own, NaN counting as 0; or equal
        ones.{extra}

    Returns
    -------
    Dataset or DataArray
        As the prediction came; lazy where it is.

    Raises
    ------
    CoordinateError
        If labels differ: scores never join inner.
    DimensionError
        If a dimension of ``dim`` is not there.
    UnitsError
        If units cannot be converted, or only one of the two has any.
    VariableError
        If two Datasets share no variable.
    OptionError
        If weights are negative or of an unknown kind.
    """


def document(*functions: Any, extra: str = "", shared: str = _PAIR, **parts: str) -> None:
    r"""Write what scores share into their docstrings, above the references or the examples.

    Parameters
    ----------
    *functions
        Of which each says in its own docstring what it is, and shows an example.
    extra : str
        Further parameters, indented as in a docstring, with a line break before each.
    shared : str
        The text, with ``{extra}`` and what ``parts`` name in it.
    **parts : str

    Examples
    --------
    >>> def score(p, t): ...
    >>> score.__doc__ = "One.\n\n    Examples\n    --------\n"
    >>> document(score, extra="\n    x : float")
    >>> [name in score.__doc__ for name in ("x : float", "CoordinateError")]
    [True, True]
    """
    text = shared.format(extra=extra, **parts).strip("\n").rstrip()
    for function in functions:
        if function.__doc__:  # not under python -OO
            head = "    References\n" if "    References\n" in function.__doc__ else "    Examples\n"
            function.__doc__ = function.__doc__.replace(head, f"{text}\n\n{head}", 1)
