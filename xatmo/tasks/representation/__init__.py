"""Learned representations: states and their lags, holes to be filled."""
