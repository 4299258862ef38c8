"""Tables of scores in the form in which the challenges publish them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from xatmo.metrics.altimetry.records import LAMBDA_X, TABLES, known_challenge

_PUBLISHED = ", published)"


def challenge_table(
    table: pd.DataFrame, *, challenge: str | None = None, notes: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Lay scores out as the challenges' tables: rounded text, one row a method.

    Parameters
    ----------
    table : DataFrame
        From `leaderboard` or `published`.
    challenge : {"osse2020a", "ose2021a"}, optional
        Whose form; that of the table's ``attrs`` unless given.
    notes : mapping, optional
        Text by name, for the last column; published rows say that they are.

    Returns
    -------
    DataFrame of str
        ``Method``, ``µ(RMSE)``, ``σ(RMSE)``, ``λx (degree)`` or ``λx (km)``, of OSSE 2020a ``λt (days)``, ``Notes``.
        Two decimals; kilometres are cut to whole ones. A dash where there is no number.

    Raises
    ------
    OptionError
        If the challenge is unknown.

    Examples
    --------
    >>> from xatmo.metrics.altimetry import published
    >>> challenge_table(published("osse2020a", "swot")).iloc[0].tolist()
    ['baseline OI swot', '0.85', '0.05', '1.22', '12.38', 'published']
    """
    name = known_challenge(table.attrs.get("challenge", "osse2020a") if challenge is None else challenge)
    along_track = name == "ose2021a"
    rows = []
    for label, row in table.iterrows():
        method, system = _split(str(label), name)
        scores = [_decimals(row["mu"]), _decimals(row["sigma"])]
        scores += [_whole(row["lambda_x"])] if along_track else [_decimals(row[n]) for n in ("lambda_x", "lambda_t")]
        # All methods of OSE 2021a observe alike: the challenge does not say it in every row.
        told = method if along_track or not system else f"{method} {system}"
        note = "published" if system else (notes or {}).get(str(label), "")
        rows.append([told, *scores, note])
    columns = ["Method", "µ(RMSE)", "σ(RMSE)", f"λx ({LAMBDA_X[name]})"]
    return pd.DataFrame(rows, columns=[*columns, *([] if along_track else ["λt (days)"]), "Notes"])


def markdown(table: pd.DataFrame) -> str:
    """Write a table of text as Markdown, numbers to the right.

    Examples
    --------
    >>> print(markdown(pd.DataFrame({"Method": ["OI"], "score": ["0.85"]})))
    | Method | score |
    |:-------|------:|
    | OI     |  0.85 |
    """
    texts = {str(c): [str(x).replace("|", "\\|") for x in table[c]] for c in table.columns}
    numbers = {c for c, cells in texts.items() if cells and all(_is_number(x) for x in cells)}
    widths = {c: max(len(c), *(len(x) for x in cells), 3) for c, cells in texts.items()}

    def line(cells: Mapping[str, str]) -> str:
        parts = [cells[c].rjust(widths[c]) if c in numbers else cells[c].ljust(widths[c]) for c in texts]
        return "| " + " | ".join(parts) + " |"

    rule = "|".join(("-" * (widths[c] + 1) + ":") if c in numbers else (":" + "-" * (widths[c] + 1)) for c in texts)
    body = [line({c: cells[i] for c, cells in texts.items()}) for i in range(len(table))]
    return "\n".join([line({c: c for c in texts}), f"|{rule}|", *body])


def _split(label: str, challenge: str) -> tuple[str, str]:
    """Part a published row's name into method and observing system; of others the second is empty."""
    if label.endswith(_PUBLISHED) and " (" in label:
        method, _, system = label.removesuffix(_PUBLISHED).rpartition(" (")
        if method in TABLES[challenge].get(system, {}):
            return method, system
    return label, ""


def _decimals(value: float) -> str:
    return f"{value:.2f}" if pd.notna(value) else "-"


def _whole(value: float) -> str:
    return "-" if pd.isna(value) else str(int(value)) if value < 1e9 else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "-"
    return True
