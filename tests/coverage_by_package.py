"""Print branch coverage for each package, and hold the cores to their goal.

Goal: 90 % in `raft`, `disk`, `store` and the operator's `plan`. The figures come from the data
file that the unit stage left.
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

GOAL_PERCENT = 90.0
HELD = ("faunadb/raft", "faunadb/disk", "faunadb/store", "fauna_operator/plan")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        subprocess.run(
            [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True
        )
        files = json.loads(report.read_text())["files"]
    covered: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path, found in files.items():
        parts = Path(path).with_suffix("").parts
        if parts[0] not in {"database", "operator"}:
            continue
        summary = found["summary"]
        package = "/".join(parts[1:3])
        covered[package][0] += summary["covered_lines"] + summary["covered_branches"]
        covered[package][1] += summary["num_statements"] + summary["num_branches"]
    low = []
    for package, (hit, all_) in sorted(covered.items()):
        percent = 100.0 * hit / all_ if all_ else 100.0
        print(f"{package:34} {percent:5.1f} %  of {all_} lines and branches")
        if package in HELD and percent < GOAL_PERCENT:
            low.append(package)
    if low:
        sys.exit(f"below {GOAL_PERCENT:.0f} %: {', '.join(low)}")


if __name__ == "__main__":
    main()
