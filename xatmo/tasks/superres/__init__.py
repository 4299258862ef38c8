"""Super-resolution: its settings, networks and training."""
