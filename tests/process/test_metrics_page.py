"""What a member shows to a Prometheus, which has no certificate, is what docs/metrics.md says."""

import re
import ssl
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from process.cluster import ROOT, cluster

pytestmark = pytest.mark.process

PAGE = (ROOT / "docs/metrics.md").read_text()


def test_the_members_table_is_its_scrape() -> None:
    """Every family of a member is on the page with its type, and nothing else is."""
    with cluster(1) as members:
        members[1].query("1 + 1")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        door = urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), door)
        with opener.open(f"{members[1].place.admin_endpoint}/metrics", timeout=20) as answer:
            text = answer.read().decode()

    families = [
        family
        for family in text_string_to_metric_families(text)
        if family.name.startswith("faunadb_")
    ]
    found = {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in families
    }
    assert dict(re.findall(r"^\| `(faunadb_\w+)` \| (\w+) ", PAGE, re.MULTILINE)) == found
    [leads] = [family.samples[0].value for family in families if family.name.endswith("is_leader")]
    assert 1.0 == leads
    [durations] = [family for family in families if family.type == "histogram"]
    last = {sample.name.rpartition("_")[2]: sample.value for sample in durations.samples}
    assert last["bucket"] == last["count"] >= 1.0  # the last bucket is the one without a bound
    assert last["sum"] > 0.0
