"""The prior of an advection and diffusion that vary in space and time: precisions, factors, draws, likelihood."""
