"""From labelled data to arrays: observations, tracks, and what callers say."""
