"""The commands of `kubectl fauna`. Each ends with 0, 1 (refused or failed) or 64 (usage)."""

import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import click

from fauna_plugin import manifests, telling
from fauna_plugin.asking import CLIENT_PORT, Door, root_secret, transfer
from fauna_plugin.kubectl import Kubectl, Missing, Object, Refused

FAILED, USAGE = 1, 64
POLL_S = 1.0
QUIET_S = 10.0  # while something is awaited a line is said at least so often
BACKUP, CLUSTER, RESTORE = (f"fauna{kind}s.fauna.dev" for kind in ("backup", "cluster", "restore"))
PROMPT = "fql> "


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-n", "--namespace", default="", help="Of the cluster; default: the context's.")
@click.option("--context", "context_name", default="", help="Of the kubeconfig.")
@click.option("--kubectl", "program", default="kubectl", envvar="KUBECTL", help="The program.")
@click.version_option(package_name="faunadb-kubernetes")
@click.pass_context
def commands(context: click.Context, namespace: str, context_name: str, program: str) -> None:
    """Look at FaunaClusters, back them up, restore them, and ask them queries."""
    context.obj = Kubectl(program, namespace, context_name)


@commands.command()
@click.argument("name", default="")
@click.option("--wait", is_flag=True, help="Until it is ready; says what it waits for.")
@click.pass_obj
def status(kubectl: Kubectl, name: str, *, wait: bool) -> None:
    """Show a cluster: members, what is not as it should be, what is being done, backups.

    Without NAME: all clusters of the namespace. Ends with 1 when clients cannot write.
    """
    if not name:
        click.echo(kubectl.text("get", CLUSTER, "-o", "wide"), nl=False)
        return
    if wait:
        _follow(lambda: kubectl.get(CLUSTER, name), telling.is_ready)
    cluster = kubectl.get(CLUSTER, name)
    for line in telling.cluster_lines(cluster, kubectl.find(BACKUP)):
        click.echo(line)
    if not telling.is_available(cluster):
        sys.exit(FAILED)


@commands.command()
@click.argument("cluster")
@click.option("--name", default="", help="Of the FaunaBackup; default: the cluster's and the time.")
@click.option("--verify", default="Checksum", type=click.Choice(["None", "Checksum", "Restore"]))
@click.option("--no-wait", is_flag=True, help="Ask for it, and do not wait for its end.")
@click.pass_obj
def backup(kubectl: Kubectl, cluster: str, name: str, verify: str, *, no_wait: bool) -> None:
    """Back a CLUSTER up to where its spec.backup.storage says."""
    kubectl.get(CLUSTER, cluster)  # who mistypes a name reads so at once
    _ask_for(kubectl, manifests.backup(name or _fresh(cluster), cluster, verify), wait=not no_wait)


@commands.command()
@click.argument("backup_name", metavar="[BACKUP]", default="")
@click.option("--survivor", default="", help="Instead of a backup: this member, or auto.")
@click.option("--in-place", default="", metavar="CLUSTER", help="Over this cluster.")
@click.option("--to", default="", metavar="CLUSTER", help="Into a new cluster of this name.")
@click.option("--like", default="", metavar="CLUSTER", help="With the spec of this one.")
@click.option("--at-time", default="", help="Up to this time, such as 2026-11-22T10:00:00Z.")
@click.option("--at-index", default=0, help="Up to this entry of the log.")
@click.option("--accept-data-loss", is_flag=True, help="In place: do it, whatever is lost.")
@click.option("--no-wait", is_flag=True, help="Ask for it, and do not wait for its end.")
@click.pass_obj
def restore(
    kubectl: Kubectl,
    *,
    backup_name: str,
    survivor: str,
    in_place: str,
    to: str,
    like: str,
    at_time: str,
    at_index: int,
    accept_data_loss: bool,
    no_wait: bool,
) -> None:
    """Bring data back from a BACKUP, or from the member that survived.

    In place it says what would be lost and does nothing, until --accept-data-loss is added.
    """
    source = manifests.Source(backup_name, survivor, at_time, at_index)
    problems = source.problems()
    if bool(in_place) == bool(to):
        problems.append("say --in-place or --to, and not both")
    if survivor and to:
        problems.append("a survivor goes on in place: say --in-place")
    if problems:
        _stop("\n".join(problems), USAGE)
    if to:
        model = like or str(kubectl.get(BACKUP, backup_name)["spec"]["clusterRef"]["name"])
        wanted = manifests.restore_to_new(_fresh(to), source, to, kubectl.get(CLUSTER, model))
    else:
        cluster = kubectl.get(CLUSTER, in_place)
        wanted = manifests.restore_in_place(
            _fresh(in_place), source, cluster, accepted=accept_data_loss
        )
    _ask_for(kubectl, wanted, wait=not no_wait)
    if in_place and not accept_data_loss:
        click.echo("Nothing was changed. Add --accept-data-loss to do it.")


@commands.command()
@click.argument("name")
@click.argument("member")
@click.pass_obj
def promote(kubectl: Kubectl, name: str, member: str) -> None:
    """Make MEMBER of cluster NAME its leader, for instance before its leader's node is drained."""
    cluster = kubectl.get(CLUSTER, name)
    known = (cluster.get("status") or {}).get("members", ())
    voters = {each["name"] for each in known if each.get("role") in ("Leader", "Voter")}
    leader = (cluster.get("status") or {}).get("leader", "")
    if member not in voters:
        _stop(f"{member} is no voter of {name}: {', '.join(sorted(voters)) or 'none is known'}")
    if leader == member:
        click.echo(f"{member} leads already")
        return
    if not leader:
        _stop(f"nobody leads {name}: there is nobody to ask")
    now = transfer(kubectl, cluster, leader, int(member.rpartition("-")[2]))
    click.echo(f"{now} leads; before, {leader} did")


@commands.command()
@click.argument("name")
@click.argument("member", default="")
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
@click.option("--tail", default=100, show_default=True, help="Lines of each member.")
@click.option("--previous", is_flag=True, help="Of the container before the present one.")
@click.pass_obj
def logs(
    kubectl: Kubectl, name: str, member: str, tail: int, *, follow: bool, previous: bool
) -> None:
    """Show the logs of all members of cluster NAME, or of one."""
    chosen = [member] if member else ["-l", f"fauna.dev/cluster={name},fauna.dev/component=member"]
    flags = ["--prefix", "--max-log-requests=31", f"--tail={tail}"]
    flags += [flag for flag, on in (("-f", follow), ("--previous", previous)) if on]
    sys.exit(kubectl.follow("logs", *chosen, *flags))


@commands.command()
@click.argument("name")
@click.option("-c", "--command", "query", default="", help="Ask this, print the answer, end.")
@click.pass_obj
def shell(kubectl: Kubectl, name: str, query: str) -> None:
    """Ask cluster NAME queries, with its root secret; each line is one. Ends with Ctrl-D."""
    cluster = kubectl.get(CLUSTER, name)
    secret = root_secret(kubectl, cluster)
    with kubectl.forward(f"service/{name}", CLIENT_PORT) as port:
        door = Door(port, secret)
        try:
            if query:
                text, good = door.ask(query)
                click.echo(text)
                sys.exit(0 if good else FAILED)
            _converse(door)
        finally:
            door.close()


def _converse(door: Door) -> None:
    while True:
        try:
            line = input(PROMPT if sys.stdin.isatty() else "")
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        if line.strip():
            click.echo(door.ask(line)[0])


def _ask_for(kubectl: Kubectl, manifest: Object, *, wait: bool) -> None:
    """Create what is asked for, and follow it to its end."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    kubectl.create(manifest)
    click.echo(f"{kind} {name}", err=True)
    if not wait:
        click.echo(name)
        return
    plural = BACKUP if kind == "FaunaBackup" else RESTORE
    ended = _follow(lambda: kubectl.get(plural, name), telling.has_ended)
    click.echo(f"{name}: {telling.progress(ended)}")
    if telling.has_failed(ended):
        sys.exit(FAILED)


def _follow(look: Callable[[], Object], ended: Callable[[Object], bool]) -> Object:
    """Say how far it is when that changes, and at least every ten seconds, until it ended."""
    began = time.monotonic()
    said, said_at = "", began
    while not ended(found := look()):
        line, now = telling.progress(found), time.monotonic()
        if line != said or now - said_at >= QUIET_S:
            click.echo(f"[{now - began:5.0f} s] {line}", err=True)
            said, said_at = line, now
        time.sleep(POLL_S)
    return found


def _fresh(name: str) -> str:
    return f"{name[:24]}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"


def _stop(message: str, code: int = FAILED) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


def main(*arguments: Any) -> None:
    """Run a command; a refusal is a sentence, not a traceback."""
    try:
        commands(*arguments, prog_name="kubectl fauna")
    except Missing as missing:
        _stop(str(missing))
    except Refused as refused:
        _stop(str(refused))


if __name__ == "__main__":
    main()
