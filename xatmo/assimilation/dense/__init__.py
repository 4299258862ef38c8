"""Analysis with a covariance: dense systems of observations taken pair by pair, or from tables on equal steps."""
