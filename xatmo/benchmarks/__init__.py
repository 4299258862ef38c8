"""Tables of methods that are trained and scored on one task, as ``xatmo benchmark`` makes them.

`osse` maps sea level from altimeters, on the files of the challenge OSSE 2020a or a generated twin of them; `gp` a
Gaussian process of known law, where the best possible answer is known too. `moving_digits` forecasts frames of Moving
MNIST or of generated digits, `rain` those of a radar. What stands in the tables: `OSSE`, `GP`, `DIGITS`, `RAIN`.
"""

from __future__ import annotations

from xatmo.benchmarks.cases import Case, gp_case, osse_case
from xatmo.benchmarks.forecasting import moving_digits, rain, run_videos, video_form, video_remarks
from xatmo.benchmarks.options import Options
from xatmo.benchmarks.rows import GP, OSSE, PUBLISHED, Row
from xatmo.benchmarks.running import form, gp, osse, remarks, run
from xatmo.benchmarks.video_cases import VideoCase, digits_case, rain_case
from xatmo.benchmarks.video_rows import DIGITS, RAIN, VideoRow

__all__ = [
    "DIGITS",
    "GP",
    "OSSE",
    "PUBLISHED",
    "RAIN",
    "Case",
    "Options",
    "Row",
    "VideoCase",
    "VideoRow",
    "digits_case",
    "form",
    "gp",
    "gp_case",
    "moving_digits",
    "osse",
    "osse_case",
    "rain",
    "rain_case",
    "remarks",
    "run",
    "run_videos",
    "video_form",
    "video_remarks",
]
