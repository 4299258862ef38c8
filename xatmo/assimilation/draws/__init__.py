"""Random fields of a covariance, and members of a posterior."""
