"""The command line of the operator: `run` reconciles, `plan` tells what it would do next."""

import asyncio
import logging
import os
import sys
import time
from typing import NoReturn

import click
import msgspec
import uvloop

from fauna_operator.database import Door
from fauna_operator.errors import OperatorError
from fauna_operator.kube import Kube, connect
from fauna_operator.lease import LeaseLost
from fauna_operator.liveness import WatchDied
from fauna_operator.model import Desired
from fauna_operator.observe import observe
from fauna_operator.plan import plan
from fauna_operator.settings import Settings, identity
from fauna_operator.wiring import run as run_operator

USAGE, UNAVAILABLE = 64, 69  # sysexits


@click.group()
@click.version_option(package_name="faunadb-kubernetes")
def main() -> None:
    """Run FaunaClusters on Kubernetes: create, heal, scale, and upgrade them."""


@main.command()
@click.option("--namespace", multiple=True, help="Watch only this namespace; may be repeated.")
@click.option("--kubeconfig", type=click.Path(), help="Outside of a pod: this kubeconfig.")
@click.option("--lease-namespace", default=None, help="Where the Lease is; default: the pod's.")
@click.option("--lease-name", default="fauna-operator", show_default=True)
@click.option(
    "--health-port", default=8080, show_default=True, help="/livez, /readyz and /metrics."
)
@click.option("--log-format", default="text", show_default=True, help="text or json.")
@click.option("--verbose", is_flag=True, help="Log what kopf and the clients do, too.")
def run(
    *,
    namespace: tuple[str, ...],
    kubeconfig: str | None,
    lease_namespace: str | None,
    lease_name: str,
    health_port: int,
    log_format: str,
    verbose: bool,
) -> None:
    """Take the Lease, then reconcile until it is lost."""
    settings = Settings(
        namespaces=namespace,
        kubeconfig=kubeconfig,
        lease_namespace=lease_namespace or os.environ.get("POD_NAMESPACE", "default"),
        lease_name=lease_name,
        identity=identity(os.environ),
        health_port=health_port,
        log_format=log_format,
    )
    problems = settings.problems()
    if problems:
        _stop("\n".join(problems), USAGE)
    _log(json=log_format == "json", verbose=verbose)
    try:
        uvloop.run(run_operator(settings))
    except* (LeaseLost, WatchDied) as ended:
        _stop(str(ended.exceptions[0]), 1)
    except* OperatorError as failed:
        _stop(str(failed.exceptions[0]), UNAVAILABLE)


@main.command(name="plan")
@click.argument("name")
@click.option("--namespace", default="default", show_default=True)
@click.option("--kubeconfig", type=click.Path(exists=True), help="Outside of a pod.")
def explain(name: str, namespace: str, kubeconfig: str | None) -> None:
    """Print what the operator would do next for a FaunaCluster, and do nothing."""

    async def look() -> str:
        async with await connect(kubeconfig) as client:
            kube, members = Kube(client), Door()
            try:
                resource = await kube.get("FaunaCluster", namespace, name)
                if resource is None:
                    return f"there is no FaunaCluster {namespace}/{name}"
                desired, now = Desired.of(resource), time.time()
                observed = await observe(kube, members, resource, desired, now=now)
                return str(plan(desired, observed, now))
            finally:
                await members.close()

    try:
        click.echo(asyncio.run(look()))
    except* OperatorError as failed:
        _stop(str(failed.exceptions[0]), UNAVAILABLE)


class JsonLines(logging.Formatter):
    """One line of JSON per record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON: time, level, logger, message, and the traceback if any."""
        fields = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


def _log(*, json: bool, verbose: bool) -> None:
    handler = logging.StreamHandler()
    plain = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    handler.setFormatter(JsonLines() if json else logging.Formatter(plain))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("kopf").setLevel(logging.DEBUG if verbose else logging.WARNING)


def _stop(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
