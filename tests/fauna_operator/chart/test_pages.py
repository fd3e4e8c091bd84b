"""Alerts, dashboard and pages agree with each other and with what a scrape shows."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chart_test_helpers import CHART, ROOT
from fauna_operator.metrics import Metrics

ALERTS = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"][0]["rules"]
PAGES = ROOT / "docs/alerts"
METRICS = (ROOT / "docs/metrics.md").read_text()
DOCUMENTED = set(re.findall(r"^\| `(\w+)`", METRICS, re.MULTILINE))
BOARDS = sorted((CHART / "dashboards").glob("*.json"))


def asked_for(expression: str) -> set[str]:
    """The metrics that an expression names, a histogram by its own name."""
    found = set(re.findall(r"\b(?:fauna|faunadb)_[a-z_]+", expression)) - {"fauna_dev_cluster"}
    return {name.removesuffix("_bucket") for name in found}


def test_each_alert_has_its_page() -> None:
    """And no page is of an alert that is gone; the list of alerts is whole."""
    names = {alert["alert"] for alert in ALERTS}
    assert names == {path.stem for path in PAGES.glob("*.md")}
    assert names == set(re.findall(r"\(alerts/(\w+)\.md\)", METRICS))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_complete(alert: dict[str, dict[str, str]]) -> None:
    """It has a severity, a sentence, a page, and asks only for documented metrics."""
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    assert f"RUNBOOKS/{alert['alert']}.md" == alert["annotations"]["runbook_url"]
    assert asked_for(str(alert["expr"])) <= DOCUMENTED


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_says_where_to_look_and_what_to_do(page: Path) -> None:
    """It is titled like its alert, and every page that it links to exists."""
    text = page.read_text()
    assert f"# {page.stem}" == text.splitlines()[0]
    assert [True, True] == ["\n## Look\n" in text, "\n## Do\n" in text]
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert [] == [link for link in links if not (PAGES / link).exists()]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_a_dashboard_asks_for_what_there_is(board: Path) -> None:
    """Its panels have ids of their own, do not overlap, and ask for documented metrics."""
    panels = json.loads(board.read_text())["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(places) == len(set(places))
    for panel in panels:
        for target in panel["targets"]:
            assert asked_for(target["expr"]) <= DOCUMENTED, panel["title"]


def test_the_operators_table_is_its_scrape() -> None:
    """Every family of the operator is on the page with its type, and nothing else is."""
    found = {}
    for family in text_string_to_metric_families(Metrics().text().decode()):
        if family.name.endswith("_created"):
            continue  # when prometheus_client made a histogram; nobody asks
        counts = family.type == "counter"
        found[f"{family.name}_total" if counts else family.name] = family.type
    found = {name: kind for name, kind in found.items() if name.startswith("fauna_")}

    table = dict(re.findall(r"^\| `(fauna_\w+)` \| (\w+) ", METRICS, re.MULTILINE))
    assert found == table
