"""Feed every decoder for a while, guided by coverage, and keep the inputs that led somewhere new.

    PYTHONPATH=tests python -m decoders --seconds 60 [--keep] [WORD ...]

Of what a run found, the smallest inputs that together take every turn of the product's own code
are kept (`--keep`), up to a few kilobytes a decoder. An input that raises what the decoder does
not promise ends the run with exit code 1 and is shown.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from decoders.catalogue import DECODERS, Decoder
from decoders.corpus import keep, kept

INPUT_BYTES_MAX = 1024
KEPT_OF_EACH_BYTES_MAX = 5_000
SLOW_S = 10  # an input that takes longer is a finding, too
MEMORY_MIB = 2048


def main() -> None:
    parser = argparse.ArgumentParser(prog="decoders", description="Fuzz every decoder.")
    parser.add_argument("words", nargs="*", help="only decoders whose name contains one")
    parser.add_argument("--seconds", type=int, default=60, help="for each decoder")
    parser.add_argument("--keep", action="store_true", help="update tests/decoders/corpus")
    asked = parser.parse_args()
    failed = []
    for decoder in DECODERS:
        if not asked.words or any(word in decoder.name for word in asked.words):
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                if not _feed(decoder, Path(folder), asked.seconds):
                    failed.append(decoder.name)
                if asked.keep:
                    keep(decoder.name, _worth_keeping(decoder, Path(folder) / "inputs"))
    if failed:
        sys.exit(f"fuzz: {', '.join(failed)}")


def _feed(decoder: Decoder, folder: Path, seconds: int) -> bool:
    inputs = folder / "inputs"
    inputs.mkdir()
    for number, block in enumerate([*decoder.good, *kept(decoder.name)]):
        (inputs / f"seed-{number:04d}").write_bytes(block)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "decoders.guided", str(inputs), decoder.name),
            *(f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={SLOW_S}"),
            *(f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={folder}/", "-print_final_stats=1"),
        ],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stdout + done.stderr
    units = re.findall(r"number_of_executed_units: (\d+)", said)
    covered = re.findall(r"cov: (\d+)", said)
    print(
        f"{decoder.name}: {int(units[-1]) if units else 0:,} inputs in {seconds} s, "
        f"coverage {covered[-1] if covered else '?'}, {len(list(inputs.iterdir()))} inputs lead on",
        flush=True,
    )
    if done.returncode:
        for found in folder.glob("*-*"):
            print(f"  {found.name.partition('-')[0]}: {found.read_bytes()!r}")
        print(said[-3000:], flush=True)
    return done.returncode == 0


def _worth_keeping(decoder: Decoder, inputs: Path) -> list[bytes]:
    """Return few small inputs that take every turn which any of them takes."""
    seen, found, size = set[tuple[CodeType, int, int]](), list[bytes](), 0
    for block in sorted((path.read_bytes() for path in inputs.iterdir()), key=len):
        turns = _turns(decoder, block)
        if not turns <= seen and size + len(block) * 4 // 3 <= KEPT_OF_EACH_BYTES_MAX:
            seen |= turns
            found.append(block)
            size += len(block) * 4 // 3
    return found


def _turns(decoder: Decoder, block: bytes) -> set[tuple[CodeType, int, int]]:
    """Return the pairs of lines of the product that follow each other."""
    turns = set[tuple[CodeType, int, int]]()
    last = dict[FrameType, int]()

    def look(frame: FrameType, event: str, _: Any) -> Any:
        if "/database/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            turns.add((frame.f_code, last.get(frame, 0), frame.f_lineno))
            last[frame] = frame.f_lineno
        return look

    sys.settrace(look)
    try:
        decoder.decode(block)
    except Exception:  # noqa: BLE001 what it may raise is the business of the fuzzer
        pass
    finally:
        sys.settrace(None)
    return turns


if __name__ == "__main__":
    main()
