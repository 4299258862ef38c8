"""``python -m xatmo``: the command, where its script is not on the path, as on a batch system."""

from __future__ import annotations

from xatmo.cli import main

if __name__ == "__main__":
    main()
