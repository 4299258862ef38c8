"""Fields on other grids: ``regrid`` to any, ``coarsen`` by a whole factor with the fine grid remembered."""

from xatmo.regrid.blocks import onto_blocks
from xatmo.regrid.coarse import Coarsening, coarsen, coarsening, fine_grid
from xatmo.regrid.constrain import constrain
from xatmo.regrid.coverage import coverage
from xatmo.regrid.curvilinear import Mesh, mesh_weights
from xatmo.regrid.engines import ENGINES
from xatmo.regrid.fields import regrid
from xatmo.regrid.regridder import Regridder
from xatmo.regrid.sparse_weights import SparseWeights
from xatmo.regrid.weight_files import WeightFile, read_weights, write_weights
from xatmo.regrid.weights import Weights, weights_between

__all__ = [
    "ENGINES",
    "Coarsening",
    "Mesh",
    "Regridder",
    "SparseWeights",
    "WeightFile",
    "Weights",
    "coarsen",
    "coarsening",
    "constrain",
    "coverage",
    "fine_grid",
    "mesh_weights",
    "onto_blocks",
    "read_weights",
    "regrid",
    "weights_between",
    "write_weights",
]
