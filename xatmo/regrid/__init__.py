"""Fields on other grids: ``regrid`` to any, ``coarsen`` by a whole factor with the fine grid remembered."""

from xatmo.regrid.coarse import Coarsening, coarsen, coarsening, fine_grid
from xatmo.regrid.engines import ENGINES
from xatmo.regrid.fields import regrid
from xatmo.regrid.weights import Weights, weights_between

__all__ = ["ENGINES", "Coarsening", "Weights", "coarsen", "coarsening", "fine_grid", "regrid", "weights_between"]
