"""Benchmarks are run by `make bench`; nothing here is collected as a test."""

collect_ignore_glob = ["*.py"]
