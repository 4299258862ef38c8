"""Nine-point stencils of advection and diffusion on cells: arrays or tensors in, arrays or tensors out."""

from xatmo.assimilation.stencils._kernels import OFFSETS, apply_stencil, diffusion_pairs, stencil

__all__ = ["OFFSETS", "apply_stencil", "diffusion_pairs", "stencil"]
