"""Import optional packages, or say in one line how to get them."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from xatmo.errors import MissingDependencyError


def require(module: str, *, extra: str, why: str = "this call") -> ModuleType:
    """Import an optional package.

    Parameters
    ----------
    module : str
        Name to import, for instance ``"ducc0"``.
    extra : str
        The extra of xatmo that installs it, for instance ``"fast"``.
    why : str
        What needs it, for the message.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    MissingDependencyError
        If the package cannot be imported.

    Examples
    --------
    >>> require("json", extra="fast").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        on_conda = extra == "xesmf"  # ESMF is not on PyPI
        how = "`conda install -c conda-forge xesmf`" if on_conda else f"`pip install 'xatmo[{extra}]'`"
        message = f"{why} needs the package {module!r}, which cannot be imported ({error}); install it with {how}"
        raise MissingDependencyError(message) from error


def available(module: str) -> bool:
    """Tell whether a package is installed, without importing it.

    Examples
    --------
    >>> available("json"), available("no_such_package")
    (True, False)
    """
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
