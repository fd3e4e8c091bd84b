"""Run the stages of `make test` one after the other and say how long each took.

Standard library only: it runs before the virtual environment exists. The first stage that
fails ends the run with its exit code; nothing is skipped. Output of every stage is shown as
it comes and kept in `.run/logs/`.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENV_PYTHON = str(ROOT / ".venv/bin/python")
PYTEST = [VENV_PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
UNIT = [
    "tests/faunadb",
    "tests/fauna_client",
    "tests/fauna_operator",
    "tests/fauna_plugin",
    "tests/faunadb_sim",
    "tests/local_kubernetes",
    "tests/test_safety_page.py",
    "tests/test_tidy.py",
]
COVERAGE = ["--cov", "--cov-branch", "--cov-report=", "--cov-config=pyproject.toml"]

STAGES: dict[str, list[list[str]]] = {
    "dev": [["make", "--no-print-directory", "dev"]],
    "check": [
        [VENV_PYTHON, "-m", "ruff", "format", "--check", "."],
        [VENV_PYTHON, "-m", "ruff", "check", "."],
        [VENV_PYTHON, "-m", "mypy"],
        [".venv/bin/lint-imports", "--no-cache"],
    ],
    "unit": [
        [*PYTEST, "-n", "2", "-m", "not process and not e2e and not sim", *COVERAGE, *UNIT],
        [VENV_PYTHON, "tests/coverage_by_package.py"],
    ],
    "sim": [
        [VENV_PYTHON, "-m", "faunadb_sim", "--seeds", os.environ.get("SEEDS", "40")],
        [*PYTEST, "-n", "2", "-m", "sim", "tests/faunadb_sim"],
    ],
    "planted": [[VENV_PYTHON, "-m", "planted"]],
    "process": [[*PYTEST, "-m", "process and not new", "tests/process"]],
    "tools": [["make", "--no-print-directory", "tools"]],
    "e2e": [[*PYTEST, "-m", "e2e and not new", "tests/e2e"]],
    "e2e-new": [[*PYTEST, "-m", "e2e and new", "tests/e2e"]],
}
ALL = ["dev", "check", "tools", "unit", "sim", "planted", "process", "e2e"]


def run_stage(name: str) -> float:
    """Run one stage; return its seconds. Ends the program when a command of it fails."""
    began = time.monotonic()
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}/database:{ROOT}/operator:{ROOT}/tests",
        "PYTHONUNBUFFERED": "1",
    }
    for command in STAGES[name]:
        print(f"== {name}: {' '.join(command[:6])}", flush=True)
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        if done.returncode != 0:
            seconds = time.monotonic() - began
            print(f"== {name}: FAILED after {seconds:.0f} s, exit code {done.returncode}")
            sys.exit(done.returncode)
    return time.monotonic() - began


def main() -> None:
    wanted = sys.argv[1:] or ["all"]
    names = ALL if wanted == ["all"] else wanted
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        sys.exit(f"no such stage: {unknown}; there are {', '.join(STAGES)} and all")
    took = {name: run_stage(name) for name in names}
    for name, seconds in took.items():
        print(f"{name:10} {seconds:6.0f} s")
    print(f"{'in all':10} {sum(took.values()):6.0f} s")


if __name__ == "__main__":
    main()
