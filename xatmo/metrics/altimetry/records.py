"""What methods reached in the challenges, as published: data, no calls."""

from __future__ import annotations

import pandas as pd

from xatmo.errors import OptionError

COLUMNS = ("mu", "sigma", "lambda_x", "lambda_t")
_NAN = float("nan")

_OSSE = {
    "1 nadir": {"baseline OI": (0.69, 0.03, 3.31, 33.32)},
    "4 nadirs": {
        "baseline OI": (0.83, 0.04, 2.25, 15.67),
        "DUACS": (0.92, 0.01, 1.42, 12.13),
        "BFN-QG": (0.92, 0.02, 1.23, 10.82),
        "DYMOST": (0.91, 0.01, 1.36, 11.91),
        "MIOST": (0.93, 0.01, 1.35, 10.41),
        "4DVarNet v2021": (0.94, 0.01, 1.19, 10.64),
        "4DVarNet v2022": (0.94, 0.01, 0.83, 8.03),
        "4DVarQG": (0.95, 0.01, 0.82, 5.84),
    },
    "swot": {"baseline OI": (0.85, 0.05, 1.22, 12.38)},
    "swot + 4 nadirs": {
        "DUACS": (0.92, 0.02, 1.22, 11.37),
        "BFN-QG": (0.93, 0.02, 1.00, 10.24),
        "DYMOST": (0.93, 0.02, 1.19, 10.04),
        "MIOST": (0.94, 0.01, 1.18, 10.33),
        "4DVarNet v2021": (0.95, 0.01, 0.70, 6.48),
        "4DVarNet v2022": (0.96, 0.01, 0.62, 4.35),
        "4DVarQG": (0.96, 0.01, 0.66, 4.65),
    },
}
_OSE = {
    "all but CryoSat-2": {
        "baseline OI": (0.85, 0.09, 140.0, _NAN),
        "DUACS": (0.88, 0.07, 152.0, _NAN),
        "MIOST": (0.89, 0.08, 139.0, _NAN),
        "DYMOST": (0.89, 0.06, 129.0, _NAN),
        "BFN-QG": (0.88, 0.06, 122.0, _NAN),
        "4DVarNet v2021": (0.89, 0.06, 122.0, _NAN),
        "4DVarNet v2022": (0.89, 0.09, 109.0, _NAN),
        "4DVarQG": (0.90, 0.06, 106.0, _NAN),
        "ConvLSTM": (0.90, 0.06, 113.0, _NAN),
        "ConvLSTM SSH-SST": (0.90, 0.06, 100.0, _NAN),
        "NeurOST SSH-SST": (0.90, 0.06, 114.0, _NAN),
    },
}
TABLES = {"osse2020a": _OSSE, "ose2021a": _OSE}
"""Challenge to observing system to method to (mu, sigma, lambda_x, lambda_t in days)."""

LAMBDA_X = {"osse2020a": "degree", "ose2021a": "km"}
"""Units of lambda_x: degrees of longitude, or kilometres along the track."""


def known_challenge(challenge: object) -> str:
    """Check the name of a challenge.

    Raises
    ------
    OptionError
        If it is unknown.
    """
    if not isinstance(challenge, str) or challenge not in TABLES:
        message = f"challenge={challenge!r}; wanted one of {sorted(TABLES)}"
        raise OptionError(message)
    return challenge


def published(challenge: str = "osse2020a", observations: str | None = None) -> pd.DataFrame:
    """Give the published scores of a challenge, on the Gulf Stream box and the challenge's days.

    Parameters
    ----------
    challenge : {"osse2020a", "ose2021a"}
        With a simulated truth (lambda_x in degrees), or with an altimeter kept out (lambda_x in km, no lambda_t).
    observations : str, optional
        ``"1 nadir"``, ``"4 nadirs"``, ``"swot"``, ``"swot + 4 nadirs"`` of OSSE 2020a, ``"all but CryoSat-2"``
        of OSE 2021a; all unless given.

    Returns
    -------
    DataFrame
        Indexed by ``"METHOD (OBSERVATIONS, published)"``: mu, sigma, lambda_x, lambda_t, as rounded in the challenges'
        tables.

    Raises
    ------
    OptionError
        If the challenge or its observing system is unknown.

    Examples
    --------
    >>> published("osse2020a", "4 nadirs").loc["DUACS (4 nadirs, published)"].tolist()
    [0.92, 0.01, 1.42, 12.13]
    """
    table = TABLES[known_challenge(challenge)]
    if observations is not None and observations not in table:
        message = f"observations={observations!r} of {challenge}; wanted one of {list(table)}"
        raise OptionError(message)
    rows = {
        f"{method} ({system}, published)": scores
        for system, methods in table.items()
        if observations in (None, system)
        for method, scores in methods.items()
    }
    out = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    out.index.name = "name"
    out.attrs["lambda_x units"] = LAMBDA_X[challenge]
    return out
