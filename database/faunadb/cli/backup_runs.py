"""Run a verb of backups: options in, one line of JSON out, an exit code that says whose fault.

    0    done; the last line of standard output is the result
    1    refused, or nothing can be done about it here: the reason says what
    64   the command line
    74   a member, the store or the disk did not answer: the same again may succeed
    78   bytes are not what they should be; a person must look

The result, or the reason, is in the termination message of the container too.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from faunadb.backup import check, layout, replay
from faunadb.backup.objects import Objects, StoreFailed, StoreMisnamed, open_store
from faunadb.backup.progress import Progress
from faunadb.backup.restore import DirectoryTaken, Order, Restored, Restoring
from faunadb.backup.segments import PointRefused
from faunadb.backup.source import MemberRefused, NoMember, Source
from faunadb.backup.take import (
    BackupOrder,
    Means,
    Verify,
    make_backup,
    result_of,
    verify_backup,
)
from faunadb.cli.exits import IDENTITY_OR_CORRUPTION, IO_ERROR, USAGE, fail, finish
from faunadb.cli.logs import Logger
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles, DirectoryInUse
from faunadb.errors import Corrupt
from faunadb.node.world import SystemChance

SYNC_PAUSE_S = 0.001


def run_backup(options: dict[str, Any]) -> None:
    """`faunadb backup`: exits the program."""

    def work(means: Means) -> dict[str, Any]:
        source = Source(
            members=tuple(part for part in options["members"].split(",") if part.strip()),
            tls_dir=options["tls_dir"],
            cluster_id=options["cluster_id"],
            prefer=options["prefer"],
            mib_s=options["bandwidth_mib_s"],
        )
        order = BackupOrder(
            cluster_id=options["cluster_id"],
            backup_id=options["backup_id"],
            verify=options["verify"],
            scratch_dir=options["scratch_dir"],
            mib_s=options["bandwidth_mib_s"],
            source=source,
        )
        return make_backup(order, means)

    _run("backup", options, work)


def run_verify(options: dict[str, Any]) -> None:
    """`faunadb verify`: exits the program."""

    def work(means: Means) -> dict[str, Any]:
        manifest = _manifest(means.objects, options["cluster_id"], options["backup_id"])
        how: Verify = "restore" if options["restore"] else "checksum"
        verify_backup(manifest, how, options["scratch_dir"], means)
        return result_of(manifest, how)

    _run("verify", options, work)


def run_discard(options: dict[str, Any]) -> None:
    """`faunadb discard`: exits the program."""

    def work(means: Means) -> dict[str, Any]:
        cluster_id, backup_id = options["cluster_id"], options["backup_id"]
        removed = check.discard(means.objects, cluster_id, backup_id)
        return {"cluster_id": cluster_id, "backup_id": backup_id, "objects_removed": removed}

    _run("discard", options, work)


def run_restore(options: dict[str, Any]) -> None:
    """`faunadb restore`: exits the program."""
    options["target"] = _target_of(options)

    def work(means: Means) -> dict[str, Any]:
        if options["dry_run"]:
            return _foretell(means, options)
        return _result(_restore(means, options))

    _run("restore", options, work)


def _target_of(options: dict[str, Any]) -> replay.Target:
    index, time_ = options["target_index"], options["target_time"]
    if index is not None and time_ is not None:
        fail(USAGE, "usage", "--target-index and --target-time are two ways to say one thing")
    try:
        return replay.Target(index, None if time_ is None else replay.parse_time(time_))
    except ValueError as problem:
        fail(USAGE, "usage", str(problem))


def _restore(means: Means, options: dict[str, Any]) -> Restored:
    options["data_dir"].mkdir(parents=True, exist_ok=True)
    order = Order(
        from_cluster_id=options["from_cluster_id"],
        backup_id=options["backup_id"],
        cluster_id=bytes.fromhex(options["cluster_id"]),
        incarnation=options["incarnation"],
        member_id=options["member_id"],
        name=options["name"],
        floor_us=options["floor_ts"],
        target=str(options["target"]),
    )
    files = DirectoryFiles(options["data_dir"])
    try:
        restoring = Restoring(
            files,
            LmdbEngines(files.root),
            order,
            draw=means.draw,
            created_us=time.time_ns() // 1000,
            pause=lambda: time.sleep(SYNC_PAUSE_S),
        )
        if done := restoring.find_done():
            means.progress.stage("done", why="this very restore has finished here before")
            return done
        manifest = _manifest(means.objects, order.from_cluster_id, order.backup_id)
        plan = replay.make_plan(means.objects, manifest, options["target"])
        base = check.base_pairs(means.objects, manifest, means.progress)
        return restoring.run(
            manifest, base, lambda kv: replay.apply(plan, means.objects, kv, means.progress)
        )
    finally:
        files.close()


def _foretell(means: Means, options: dict[str, Any]) -> dict[str, Any]:
    """Say what a restore would give, without a look at the directory."""
    manifest = _manifest(means.objects, options["from_cluster_id"], options["backup_id"])
    plan = replay.make_plan(means.objects, manifest, options["target"])
    point = replay.foretell(plan, means.objects, means.progress)
    return {
        "dry_run": True,
        "cluster_id": options["cluster_id"],
        "incarnation": options["incarnation"],
        "member_id": options["member_id"],
        "index": point.index,
        "term": point.term,
        "txn_ts": point.last_ts,
        "documents": sum(manifest.documents.values()),
        "size_bytes": manifest.size_bytes(),
        "expected_state_hash": manifest.state_hash if point.index == manifest.index else None,
        "lost_after_index": point.index,
        "lost_after_ts": point.last_ts,
    }


def _result(done: Restored) -> dict[str, Any]:
    return {
        "cluster_id": done.order.cluster_id.hex(),
        "incarnation": done.order.incarnation,
        "member_id": done.order.member_id,
        "nonce": done.nonce.hex(),
        "index": done.index,
        "term": done.term,
        "txn_ts": done.txn_ts,
        "ts_ceiling": done.ceiling,
        "state_hash": done.state_hash,
        "expected_state_hash": done.expected_state_hash,
        "lost_after_index": done.index,
    }


def _manifest(objects: Objects, cluster_id: str, backup_id: str) -> layout.Manifest:
    manifest = check.find_manifest(objects, cluster_id, backup_id)
    if manifest is None:
        fail(1, "no_backup", f"there is no complete backup {backup_id} of cluster {cluster_id}")
    return manifest


def _run(verb: str, options: dict[str, Any], work: Callable[[Means], dict[str, Any]]) -> None:
    """Do the work with progress on standard error, and end the program."""
    signal.signal(signal.SIGTERM, _stop)  # the first process of a container has no default
    objects = _open(options)
    logger = Logger(options["log_format"], verb)
    failure: tuple[int, str, str] | None = None
    result: dict[str, Any] = {}
    try:
        with Progress(logger.line) as progress:
            result = work(Means(objects, progress, SystemChance().bytes))
    except Corrupt as problem:
        failure = (IDENTITY_OR_CORRUPTION, problem.reason, problem.detail)
    except PointRefused as problem:
        failure = (1, problem.reason, problem.detail)
    except DirectoryTaken as problem:
        failure = (1, "directory_taken", str(problem))
    except MemberRefused as problem:
        failure = (1, problem.code, problem.message)
    except DirectoryInUse as problem:
        failure = (IO_ERROR, "in-use", str(problem))
    except StoreFailed as problem:
        failure = (IO_ERROR, "store", str(problem))
    except NoMember as problem:
        failure = (IO_ERROR, "no_member", str(problem))
    except (asyncio.CancelledError, OSError) as problem:
        failure = (IO_ERROR, "io", str(problem))
    if failure is not None:
        fail(*failure)
    finish(result)
    sys.exit(0)


def _stop(_number: int, _frame: object) -> None:
    fail(IO_ERROR, "stopped", "the program was told to stop before it had finished")


def _open(options: dict[str, Any]) -> Objects:
    """Check ids and open the store; ends the program when one of them is nonsense."""
    try:
        for name in ("cluster_id", "from_cluster_id"):
            if name in options:
                options[name] = layout.check_cluster_id(options[name])
        layout.check_backup_id(options["backup_id"])
        return open_store(options["store"], options["credentials_dir"])
    except (StoreMisnamed, ValueError) as problem:
        fail(USAGE, "usage", str(problem))
    except OSError as problem:
        fail(IO_ERROR, "io", str(problem))
