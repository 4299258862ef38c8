"""Tables of methods that are trained and scored on one task: ``xatmo benchmark osse`` and ``xatmo benchmark gp``.

`osse` maps sea level from altimeters, on the files of the challenge OSSE 2020a or a generated twin of them; `gp` a
Gaussian process of known law, where the best possible answer is known too. What stands in the tables: `OSSE`, `GP`.
"""

from __future__ import annotations

from xatmo.benchmarks.cases import Case, gp_case, osse_case
from xatmo.benchmarks.rows import GP, OSSE, PUBLISHED, Row
from xatmo.benchmarks.running import Options, form, gp, osse, remarks, run

__all__ = [
    "GP",
    "OSSE",
    "PUBLISHED",
    "Case",
    "Options",
    "Row",
    "form",
    "gp",
    "gp_case",
    "osse",
    "osse_case",
    "remarks",
    "run",
]
