"""What `helm install` makes of the chart's values."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_test_helpers import (
    CHART,
    MONITORING,
    NAMESPACE,
    RELEASE,
    ROOT,
    Object,
    helm,
    names,
    of_kind,
    render,
)
from kind_test_helpers.recipes import KUBERNETES

CRDS = sorted((ROOT / "crds").glob("*.yaml"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.fixture(scope="module")
def default() -> list[Object]:
    return render()


def test_lint_finds_nothing() -> None:
    """`helm lint --strict` has nothing to say."""
    told = helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART))
    assert (0, True) == (told.returncode, "0 chart(s) failed" in told.stdout), told.stdout


def test_a_slow_start_is_not_ended(default: list[Object]) -> None:
    """Liveness judges an operator that has started; until then it has two minutes."""
    [deployment] = of_kind(default, "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert liveness["httpGet"] == startup["httpGet"]
    assert 120 <= startup["periodSeconds"] * startup["failureThreshold"]


def test_a_release_stays_in_its_namespace(default: list[Object]) -> None:
    """By default the operator watches its own namespace, by a Role there."""
    assert {RELEASE, f"{RELEASE}-lease"} == names(default, "Role")
    assert {NAMESPACE} == {each["metadata"]["namespace"] for each in of_kind(default, "Role")}
    assert {f"{NAMESPACE}-{RELEASE}-nodes"} == names(default, "ClusterRole")
    assert [f"--namespace={NAMESPACE}"] == namespace_arguments(default)
    assert not of_kind(render("rbac.nodes=false"), "ClusterRole")


def test_other_namespaces_get_a_role_each() -> None:
    """Each watched namespace has a Role, bound to the account of the release's namespace."""
    found = render("watchNamespaces[0]=shop", "watchNamespaces[1]=bank")

    rights = [each for each in of_kind(found, "Role") if each["metadata"]["name"] == RELEASE]
    assert ["shop", "bank"] == [each["metadata"]["namespace"] for each in rights]
    assert ["--namespace=shop", "--namespace=bank"] == namespace_arguments(found)
    subjects = [each["subjects"] for each in of_kind(found, "RoleBinding")]
    account = {"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}
    assert [[account]] * 3 == subjects
    selectors = [
        each["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"]
        for each in of_kind(found, "ValidatingAdmissionPolicyBinding")
    ]
    assert [["shop", "bank"]] * 2 == selectors


def test_cluster_wide_on_request() -> None:
    """The same rights in a ClusterRole; the Lease stays where the release is."""
    found = render("watchAllNamespaces=true")

    [role] = [each for each in of_kind(render(), "Role") if each["metadata"]["name"] == RELEASE]
    wide = {each["metadata"]["name"]: each["rules"] for each in of_kind(found, "ClusterRole")}
    assert role["rules"] == wide[f"{NAMESPACE}-{RELEASE}"]
    assert {f"{RELEASE}-lease"} == names(found, "Role")
    assert [] == namespace_arguments(found)
    bindings = of_kind(found, "ValidatingAdmissionPolicyBinding")
    assert ["matchResources" in each["spec"] for each in bindings] == [False, False]


def namespace_arguments(objects: list[Object]) -> list[str]:
    [container] = pod(objects)["containers"]
    return [word for word in container["args"] if word.startswith("--namespace")]


def pod(objects: list[Object]) -> dict[str, Any]:
    [deployment] = of_kind(objects, "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def test_pods_are_restricted(default: list[Object]) -> None:
    """Every field that the restricted Pod Security Standard asks for, and limits."""
    spec = pod(default)
    [container] = spec["containers"]
    security = container["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert {"type": "RuntimeDefault"} == spec["securityContext"]["seccompProfile"]
    assert [False, True] == [
        security["allowPrivilegeEscalation"],
        security["readOnlyRootFilesystem"],
    ]
    assert {"drop": ["ALL"]} == security["capabilities"]
    assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


def test_two_replicas_on_two_nodes(default: list[Object]) -> None:
    """They prefer different nodes and zones, and a drain leaves one."""
    terms = pod(default)["affinity"]["podAntiAffinity"]
    terms = terms["preferredDuringSchedulingIgnoredDuringExecution"]
    keys = {each["podAffinityTerm"]["topologyKey"] for each in terms}
    assert {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} == keys
    [budget] = of_kind(default, "PodDisruptionBudget")
    assert 1 == budget["spec"]["minAvailable"]
    assert not of_kind(render("replicas=1"), "PodDisruptionBudget")  # it would block every drain


def test_crds_are_those_of_the_source_and_stay(default: list[Object]) -> None:
    """Each file of crds/ is in the release, kept on uninstall; without it if somebody else does."""
    found = {
        each["metadata"]["name"]: each for each in of_kind(default, "CustomResourceDefinition")
    }
    source = {
        each["metadata"]["name"]: each for p in CRDS for each in [yaml.safe_load(p.read_text())]
    }
    assert set(source) == set(found)
    for name, crd in source.items():
        assert crd["spec"] == found[name]["spec"]
        assert "keep" == found[name]["metadata"]["annotations"]["helm.sh/resource-policy"]
    assert not of_kind(render("crds.install=false"), "CustomResourceDefinition")


def test_a_package_carries_the_crds(tmp_path: Path) -> None:
    """`helm package` follows the link to crds/; what it makes renders the same."""
    assert 0 == helm("package", str(CHART), "--destination", str(tmp_path)).returncode
    [package] = tmp_path.glob("fauna-operator-*.tgz")
    arguments = ("--namespace", NAMESPACE, "--kube-version", KUBERNETES)
    told = [helm("template", RELEASE, str(of), *arguments).stdout for of in (CHART, package)]
    assert told[0] == told[1]
    assert "kind: CustomResourceDefinition" in told[1]


def test_the_image_by_tag_or_digest() -> None:
    """The tag is the chart's version unless said otherwise; a digest wins."""
    digest = "sha256:" + 64 * "a"
    images = [
        pod(render(*settings))["containers"][0]["image"]
        for settings in (
            ["image.repository=r.example/op"],
            ["image.repository=r.example/op", "image.tag=v2"],
            ["image.repository=r.example/op", "image.tag=v2", f"image.digest={digest}"],
        )
    ]
    assert ["r.example/op:0.1.0", "r.example/op:v2", f"r.example/op@{digest}"] == images


def test_policies_where_the_server_has_them(default: list[Object]) -> None:
    """Two policies on 1.30 and later, none before; each can be left out."""
    protect = {f"{NAMESPACE}-{RELEASE}-protect-{what}" for what in ("clusters", "claims")}
    assert protect == names(default, "ValidatingAdmissionPolicy")
    assert not of_kind(render(kubernetes="1.29.5"), "ValidatingAdmissionPolicy")
    assert not of_kind(render("admissionPolicies.enabled=false"), "ValidatingAdmissionPolicy")
    one = render("admissionPolicies.protectClaims=false")
    assert {f"{NAMESPACE}-{RELEASE}-protect-clusters"} == names(one, "ValidatingAdmissionPolicy")


def test_the_exemption_is_a_condition() -> None:
    """On request the policies do not match what the namespace controller deletes."""
    policies = of_kind(
        render("admissionPolicies.exemptNamespaceController=true"), "ValidatingAdmissionPolicy"
    )
    expression = (
        "request.userInfo.username != 'system:serviceaccount:kube-system:namespace-controller'"
    )
    condition = {"name": "not-with-its-namespace", "expression": expression}
    assert [[condition]] * 2 == [each["spec"]["matchConditions"] for each in policies]
    default = of_kind(render(), "ValidatingAdmissionPolicy")
    assert not [each for each in default if "matchConditions" in each["spec"]]


def test_the_operator_itself_may_delete_claims() -> None:
    """The policy names the account of this very release, and the label of what is put aside."""
    policies = of_kind(render(), "ValidatingAdmissionPolicy")
    [claims] = [each["spec"] for each in policies if each["metadata"]["name"].endswith("claims")]
    [rule] = claims["matchConstraints"]["resourceRules"]
    assert [[""], ["DELETE"], ["persistentvolumeclaims"]] == [
        rule[key] for key in ("apiGroups", "operations", "resources")
    ]
    selector = [{"key": "fauna.dev/cluster", "operator": "Exists"}]
    assert selector == claims["matchConstraints"]["objectSelector"]["matchExpressions"]
    [validation] = claims["validations"]
    assert f"'system:serviceaccount:{NAMESPACE}:{RELEASE}'" in validation["expression"]
    assert "['fauna.dev/quarantined'] == 'true'" in validation["expression"]


def test_optional_values_reach_the_pod() -> None:
    """Where it runs, as what, and what it is labelled with."""
    found = render(
        *("nodeSelector.disk=fast", "tolerations[0].key=a", "tolerations[0].operator=Exists"),
        *("priorityClassName=high", "image.pullSecrets[0]=registry"),
        *("podLabels.team=data", "podAnnotations.note=x"),
        *("topologySpreadConstraints[0].maxSkew=1", "affinity.nodeAffinity.x=y"),
    )
    spec = pod(found)
    assert {"disk": "fast"} == spec["nodeSelector"]
    assert [{"key": "a", "operator": "Exists"}] == spec["tolerations"]
    assert ["high", [{"name": "registry"}]] == [
        spec["priorityClassName"],
        spec["imagePullSecrets"],
    ]
    assert [{"maxSkew": 1}] == spec["topologySpreadConstraints"]
    assert {"nodeAffinity": {"x": "y"}} == spec["affinity"]
    [deployment] = of_kind(found, "Deployment")
    metadata = deployment["spec"]["template"]["metadata"]
    assert ["data", "x"] == [metadata["labels"]["team"], metadata["annotations"]["note"]]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= metadata["labels"].items()


def test_monitoring_follows_its_apis(default: list[Object]) -> None:
    """Auto makes PodMonitors and rules where their API exists; false never does."""
    assert not of_kind(default, "PodMonitor")
    found = render(apis=MONITORING)
    assert {RELEASE, f"{RELEASE}-members"} == names(found, "PodMonitor")
    assert {RELEASE} == names(found, "PrometheusRule")
    labelled = of_kind(render("monitoring.labels.release=main", apis=MONITORING), "PodMonitor")
    assert ["main", "main"] == [each["metadata"]["labels"]["release"] for each in labelled]
    never = render(
        "monitoring.podMonitor=false", "monitoring.prometheusRule=false", apis=MONITORING
    )
    assert not [*of_kind(never, "PodMonitor"), *of_kind(never, "PrometheusRule")]
    [rule] = of_kind(
        render("monitoring.runbooks=https://example.org/a", apis=MONITORING), "PrometheusRule"
    )
    urls = {each["annotations"]["runbook_url"] for each in rule["spec"]["groups"][0]["rules"]}
    assert all(url.startswith("https://example.org/a/Fauna") for url in urls)


def test_the_dashboard_is_found_by_its_label() -> None:
    """The ConfigMap holds each dashboard as JSON."""
    [found] = of_kind(render("monitoring.dashboard=true"), "ConfigMap")
    assert "1" == found["metadata"]["labels"]["grafana_dashboard"]
    assert {"cluster.json"} == set(found["data"])
    assert "FaunaCluster" == json.loads(found["data"]["cluster.json"])["title"]


REFUSED = [
    ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
    ("replicas=many", "at '/replicas': got string, want integer"),
    ("replica=2", "additional properties 'replica' not allowed"),
    ("image.pullPolicy=Sometimes", "at '/image/pullPolicy'"),
    ("image.digest=sha256:1", "at '/image/digest'"),
    ("watchNamespaces[0]=Shop", "at '/watchNamespaces/0'"),
    ("monitoring.podMonitor=Perhaps", "at '/monitoring/podMonitor'"),
    ("monitoring.scrapeInterval=often", "at '/monitoring/scrapeInterval'"),
    ("watchAllNamespaces=true,watchNamespaces[0]=a", "leave watchNamespaces empty"),
]


@pytest.mark.parametrize(("setting", "sentence"), REFUSED, ids=lambda given: str(given)[:30])
def test_wrong_values_are_refused(setting: str, sentence: str) -> None:
    """What cannot work is refused before anything is installed."""
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        render(setting)


def test_every_value_is_described() -> None:
    """values.yaml and its schema name the same values, and the schema has a sentence for each."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    properties = SCHEMA["properties"]
    assert set(values) == set(properties) - {"global"}  # global is Helm's own
    for name, given in values.items():
        assert properties[name]["description"].endswith(".")
        if isinstance(given, dict) and "properties" in properties[name]:
            inner = properties[name]["properties"]
            assert set(given) == set(inner), name
            assert all(each["description"].endswith(".") for each in inner.values()), name


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("replicas=2", f"watches {NAMESPACE}."),
        ("watchAllNamespaces=true", "watches all namespaces."),
        ("crds.install=false", "apply those of the folder crds/ yourself"),
        ("rbac.nodes=false", "nodes cannot be listed"),
        ("replicas=1", "nothing is repaired"),
    ],
)
def test_notes_say_what_follows(setting: str, said: str, tmp_path: Path) -> None:
    """After the install a person reads what is watched, and what was given up."""
    copy = tmp_path / "chart"
    shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("crds"))
    notes = (copy / "templates/NOTES.txt").read_text()  # helm prints them only with a server
    (copy / "templates/_notes.tpl").write_text(f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}')
    (copy / "templates/notes.yaml").write_text('told: {{ include "notes" . | quote }}')
    told = helm(
        *("template", RELEASE, str(copy), "--namespace", NAMESPACE, "--set", setting),
        *("--show-only", "templates/notes.yaml", "--kube-version", KUBERNETES),
    )
    assert said in yaml.safe_load(told.stdout)["told"]
