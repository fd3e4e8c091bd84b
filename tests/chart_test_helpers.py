"""The chart as objects, by the helm of the tool cache."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from kind_test_helpers.recipes import HELM, KUBERNETES
from kind_test_helpers.tools import ensure

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts/fauna-operator"
RELEASE, NAMESPACE = "fauna-operator", "databases"
MONITORING = tuple(f"monitoring.coreos.com/v1/{kind}" for kind in ("PodMonitor", "PrometheusRule"))

Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [str(ensure(HELM)), *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def render(
    *settings: str, apis: tuple[str, ...] = (), kubernetes: str = KUBERNETES
) -> list[Object]:
    """The objects of a release with `--set` for each setting; raises what helm says."""
    told = helm(
        *("template", RELEASE, str(CHART), "--namespace", NAMESPACE),
        *("--kube-version", kubernetes),
        *(word for each in settings for word in ("--set", each)),
        *(word for each in apis for word in ("--api-versions", each)),
    )
    if told.returncode:
        raise ValueError(told.stderr)
    return [each for each in yaml.safe_load_all(told.stdout) if each]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def names(objects: list[Object], kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in of_kind(objects, kind)}
