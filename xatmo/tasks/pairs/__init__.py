"""Coarse and fine fields side by side, and batches of them."""
