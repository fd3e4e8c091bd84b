"""Bugs to plant: each is one change of the text of the product, and a seed must notice it.

A copy of the database is changed, never the checkout. A text that is not found, or found twice,
fails: the code has moved on, and the catalogue must follow.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

DATABASE = Path(__file__).parent.parent.parent / "database"
RUN_S_MAX = 120
SEEDS = 48


class Bug(msgspec.Struct, frozen=True):
    """`old` becomes `new` in `file`; one of the seeds 1 to `SEEDS` kills it.

    `says` are the promises that it breaks: one of them stands in what the seed says.
    """

    name: str
    file: str
    old: str
    new: str
    says: tuple[str, ...]


BUGS = (
    Bug(
        "the log is not synced",
        "disk/wal.py",
        "        self._file.fdatasync()\n        self._unsynced = False",
        "        self._unsynced = False",
        says=("calls durable what its disk does not have",),
    ),
    Bug(
        "a leader counts its own entry before it is synced",
        "raft/leader.py",
        "reached[s.me] = s.log.synced",
        "reached[s.me] = s.log.last.index",
        says=("counts as committed",),
    ),
    Bug(
        "an entry of an old term is committed by counting (Raft, figure 8)",
        "raft/leader.py",
        "if index <= before or s.log.term_at(index) != s.term:",
        "if index <= before:",
        says=("by count",),
    ),
    Bug(
        "the vote is not persisted",
        "raft/state.py",
        "hard_state = HardState(self.term, self.vote, self.log.commit)",
        "hard_state = HardState(self.term, NOBODY, self.log.commit)",
        says=("is not on its disk", "came back with", "no leader opened"),
    ),
    Bug(
        "a learner counts for the quorum",
        "raft/leader.py",
        "index = joint_value(s.membership.voters, s.membership.outgoing, reached)",
        "index = joint_value({p.id for p in s.membership.current.everyone()}, (), reached)",
        says=("counts as committed",),
    ),
    Bug(
        "an acknowledgement leaves before the sync",
        "raft/follower.py",
        "s.send_synced(m.sender, AppendResponse(s.me, s.term, through))",
        "s.send(m.sender, AppendResponse(s.me, s.term, through))",
        says=("not durable",),
    ),
    Bug(
        "a term leaves before it is durable",
        "raft/state.py",
        "if now and not self.durable:",
        "if False:",
        says=("not durable",),
    ),
    Bug(
        "a member votes twice in a term",
        "raft/election.py",
        "free = s.vote == m.sender or (s.vote == NOBODY and s.leader == NOBODY)",
        "free = True",
        says=("voted twice", "is not on its disk", "s.leader == s.me == s.vote"),
    ),
    Bug(
        "a follower truncates without a conflict",
        "raft/follower.py",
        "if s.log.term_at(entry.index) != entry.term:",
        "if True:",
        says=("is thrown away",),
    ),
    Bug(
        "a member applies what is not durable there",
        "raft/log.py",
        "through = min(self.commit, self.synced)",
        "through = self.commit",
        says=("not durable there",),
    ),
    Bug(
        "a new leader does not look into its inherited tail",
        "node/state.py",
        "overlay.load([((entry.term, entry.index), _payload(entry)) for entry in tail])",
        "overlay.load([((entry.term, entry.index), None) for entry in tail])",
        says=("applied twice", "appended once", "not linearizable"),
    ),
    Bug(
        "a known request is applied again",
        "node/leader.py",
        "        known = self._tip.find(query)\n",
        "        known = None\n",
        says=("applied twice", "appended once", "not linearizable"),
    ),
    Bug(
        "a new leader's timestamps begin anywhere",
        "node/member.py",
        "counter=Counter(self.state.highest_us(tail)),",
        "counter=Counter(0),",
        # the last: its snapshot lies before the schema that was acknowledged
        says=(
            "had been answered",
            "share the time",
            "the order of the log is the order of timestamps",
            "request id was not drawn",
            "unbound_variable",
        ),
    ),
    Bug(
        "a state is believed after the machine lost power",
        "disk/states.py",
        "return mark == Valid(self._boot, number)",
        "return mark is not None",
        says=("must not be believed",),
    ),
    Bug(
        "the name of a new segment is not synced",
        "disk/wal.py",
        "        self._files.rename(NEW_TMP, segment_path(self._seq))\n"
        "        self._files.fsync_directory(DIRECTORY)\n",
        "        self._files.rename(NEW_TMP, segment_path(self._seq))\n",
        says=("calls durable what its disk does not have",),
    ),
)


def plant(bug: Bug, into: Path) -> Path:
    """Copy the database with the bug in it; return the folder for PYTHONPATH."""
    copy = into / "database"
    for package in ("faunadb", "faunadb_sim"):
        shutil.copytree(DATABASE / package, copy / package, ignore=shutil.ignore_patterns("*.pyc"))
    path = copy / "faunadb" / bug.file
    text = path.read_text()
    assert text.count(bug.old) == 1, f"{bug.name}: the text is {text.count(bug.old)} times there"
    path.write_text(text.replace(bug.old, bug.new))
    return copy


def simulate(database: Path, *arguments: str, hash_seed: str = "0") -> tuple[int, str]:
    """Run the simulator of a folder; return its exit code and what it said."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(database),
        "PYTHONHASHSEED": hash_seed,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "faunadb_sim", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
