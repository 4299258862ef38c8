"""The prior of a diffusion with constant scales: modes, exact analysis in the space of the observations."""
