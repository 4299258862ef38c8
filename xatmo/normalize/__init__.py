"""Scale fields to numbers near 1 and back, with statistics that are fitted once and kept with their units."""

from xatmo.normalize._normalizer import Normalizer
from xatmo.normalize._scaling import LOG_AMPLITUDE, backward, forward

__all__ = ["LOG_AMPLITUDE", "Normalizer", "backward", "forward"]
