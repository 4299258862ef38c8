"""Covariances of distance and lag, the frame in which distances are taken, and their scales by maximum likelihood."""
