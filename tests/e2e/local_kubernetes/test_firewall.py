"""A host that filters bridged packets lets ours pass by one chain that goes again."""

import subprocess
import sys

import pytest

from kind_test_helpers.places import PACKAGE

pytestmark = pytest.mark.e2e

# In a network of its own, so that the host's rules are neither read nor written.
SCENARIO = """
from kind_test_helpers.commands import run
from kind_test_helpers.local import network
from kind_test_helpers.local.layout import Layout

def rules():
    return run("iptables", "-S").splitlines()

layout = Layout("a1b2c3", 207, 1)
run("iptables", "-P", "FORWARD", "DROP")
run("iptables", "-A", "FORWARD", "-s", "192.0.2.0/24", "-j", "ACCEPT")
before = rules()
assert network.firewall_needed()
network.open_firewall(layout)
first = next(rule for rule in rules() if rule.startswith("-A FORWARD"))
assert "-i fla1b2c3 -o fla1b2c3" in first and "FAUNA-a1b2c3" in first, first
network.close_firewall(layout)
assert before == rules(), rules()
network.close_firewall(layout)
assert before == rules()
"""


def test_our_chain_comes_and_goes_and_touches_no_other() -> None:
    """Policies and the rules of others are as before; closing twice is closing once."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCENARIO],
        env={"PYTHONPATH": str(PACKAGE.parent), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
