"""Bugs of what is durable: `faunadb/disk`."""

from planted.bug import Bug

TESTS = "tests/faunadb/disk"
EVERY = f"{TESTS}/test_faults.py::test_fail_every_operation"

BUGS = (
    Bug(
        name="the log is not synced",
        file="disk/wal.py",
        old="        self._file.fdatasync()\n        self._unsynced = False",
        new="        self._unsynced = False",
        test=f"{EVERY}[power-power]",
        says=("calls durable what its disk does not have",),
    ),
    Bug(
        name="the first frame of a new segment is not synced",
        file="disk/wal.py",
        old="        file.fdatasync()\n        self._files.rename(NEW_TMP",
        new="        self._files.rename(NEW_TMP",
        test=f"{EVERY}[power-power]",
        fails="Corrupt",
    ),
    Bug(
        name="the name of a new segment is not synced",
        file="disk/wal.py",
        old="        self._files.rename(NEW_TMP, segment_path(self._seq))\n"
        "        self._files.fsync_directory(DIRECTORY)\n",
        new="        self._files.rename(NEW_TMP, segment_path(self._seq))\n",
        test=f"{EVERY}[power-power]",
        says=("calls durable what its disk does not have",),
        fails="Corrupt",
    ),
    Bug(
        name="a recycled segment gets its name without a sync",
        file="disk/wal.py",
        old="        self._files.rename(path, segment_path(self._seq))\n"
        "        self._files.fsync_directory(DIRECTORY)",
        new="        self._files.rename(path, segment_path(self._seq))",
        test=f"{EVERY}[power-power]",
    ),
    Bug(
        name="a vote is written once",
        file="disk/wal.py",
        old="twin = voted !=",
        new="twin = False and voted !=",
        test=f"{TESTS}/test_scan.py::test_a_vote_survives_the_loss_of_either_copy",
    ),
    Bug(
        name="what recovery read is not repeated",
        file="disk/scan.py",
        old="            operations=self._operations,",
        new="            operations=(),",
        test=f"{TESTS}/test_scan.py::test_what_recovery_read_is_repeated_once_more",
    ),
    Bug(
        name="a segment is cut that holds what nobody else has",
        file="disk/wal.py",
        old="if oldest.index_max > through or oldest.seq",
        new="if oldest.seq",
        test=f"{TESTS}/test_log_reader.py::test_what_is_read_is_what_was_committed[0]",
        fails="Corrupt",
    ),
    Bug(
        name="the log is cut behind the newest snapshot",
        file="disk/snapshots.py",
        old="        return kept[-KEPT].id.index",
        new="        return kept[-1].id.index",
        test=f"{TESTS}/test_recover.py::test_the_older_snapshot_serves_when_the_newest_is_damaged",
        fails="Corrupt",
    ),
    Bug(
        name="the data of a snapshot are not synced",
        file="disk/snapshots.py",
        old="            file.fdatasync()\n        finally",
        new="            pass\n        finally",
        test=f"{EVERY}[power-power]",
        fails="Corrupt",
    ),
    Bug(
        name="the name of a snapshot is not synced",
        file="disk/snapshots.py",
        old='        self._files.rename(path, target)\n        self._files.fsync_directory("")',
        new="        self._files.rename(path, target)",
        test=f"{EVERY}[power-power]",
        fails="Corrupt",
    ),
    Bug(
        name="a state is believed after the machine lost power",
        file="disk/states.py",
        old="return mark == Valid(self._boot, number)",
        new="return mark is not None",
        test=f"{TESTS}/test_recover.py::test_a_loss_of_power_discards_the_state",
        says=("must not be believed",),
    ),
    Bug(
        name="the mark of a clean stop stays while the state is written",
        file="disk/states.py",
        old="        if _CLEAN in self._files.list(path):",
        new="        if False:",
        test=f"{EVERY}[power-power]",
    ),
    Bug(
        name="a clean stop does not sync the state",
        file="disk/directory.py",
        old="        self.engine.force_sync()\n",
        new="",
        test=f"{TESTS}/test_recover.py::test_a_clean_stop_keeps_the_state_over_a_loss_of_power",
    ),
    Bug(
        name="marks are not synced",
        file="disk/seals.py",
        old="        file.pwrite(block, 0)\n        file.fdatasync()",
        new="        file.pwrite(block, 0)",
        test=f"{EVERY}[power-power]",
        fails="Corrupt",
    ),
    Bug(
        name="a resumed transfer trusts what was never synced",
        file="disk/transfers.py",
        old="            self._file.pwrite(data, at)  #",
        new="            pass  #",
        test=f"{TESTS}/test_transfers.py::test_what_a_failed_sync_left_is_written_again",
        fails="Corrupt",
    ),
    Bug(
        name="a half finished installation is taken for a state",
        file="disk/recover.py",
        old="return applied.index >= max(_first_index(scan) - 1, installed)",
        new="return True",
        test=f"{EVERY}[process-eio]",
    ),
)
