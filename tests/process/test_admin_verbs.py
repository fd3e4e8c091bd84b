"""The admin verbs of `faunadb`, said to a member that does not lead."""

import json

import pytest

from process.cluster import Cluster, run_program, wait_until

pytestmark = pytest.mark.process


def test_a_verb_goes_on_to_the_leader(three: Cluster) -> None:
    """A follower may be told to hand leadership over, and to change who is a member."""
    leader, (told, heir) = three.leader(), three.followers()
    asked = ["--endpoint", told.place.admin_endpoint, "--tls-dir", str(told.operator_tls)]

    run_program("transfer", "--to", str(heir.place.id), *asked)
    wait_until(heir.leads, "the heir leads")
    said = run_program("member", "remove", str(leader.place.id), *asked).stdout
    voters = {peer["id"] for peer in json.loads(said)["configuration"]["voters"]}

    assert {told.place.id, heir.place.id} == voters
