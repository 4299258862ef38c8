"""Measure every benchmark and print one table: ``python tests/benchmarks [--quick] [--clock cpu] [ROOM ...]``.

Each ``bench_<room>.py`` has a function ``rows(quick=False)`` that measures ours against a peer in the same run, turn by
turn, and gives a list of `timing.Row`. Peers that are not installed give no row.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[1]):  # the benchmarks import `timing`, by either name
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def main() -> int:
    rooms = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"among {', '.join(rooms)}; all unless given")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that they run, not how fast")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: seconds of the processor, for busy machines"
    )
    chosen = parser.parse_args()
    unknown = set(chosen.rooms) - set(rooms)
    if unknown:
        parser.error(f"no benchmark for {', '.join(sorted(unknown))}; there are {', '.join(rooms)}")

    from rich.console import Console
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=170)
    import timing

    timing.use_clock(chosen.clock)
    title = "Medians of calls in turn" + (", small sizes" if chosen.quick else "")
    title += ", seconds of the processor" if chosen.clock == "cpu" else ""
    table = Table("work", "xatmo", "peer", "peer's name", "ratio", "wanted", "", title=title)
    missed = failed = 0
    for room in chosen.rooms or rooms:
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the peers' own
                rows = importlib.import_module(f"bench_{room}").rows(quick=chosen.quick)
        except Exception:
            failed += 1
            console.print(f"[red]{room} failed[/red]")
            traceback.print_exc()
            continue
        console.print(f"{room}: {len(rows)} rows in {time.perf_counter() - start:.0f} s")
        for row in rows:
            mark = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[row.met]
            missed += row.met is False
            ours, peer = (f"{value:.4g} {row.unit}" for value in (row.ours, row.peer))
            table.add_row(row.work, ours, peer, row.peer_name, f"{row.ratio:.3g}", row.wanted, mark)
        table.add_section()
    console.print(table)
    console.print(f"{missed} bounds missed, {failed} benchmarks failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
