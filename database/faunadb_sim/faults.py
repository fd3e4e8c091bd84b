"""What breaks: links, disks, processes, machines, clocks, members that come and go.

Each kind of fault comes at its own rate, or never, as the seed's options say. `stop` ends them
all and mends what they broke.

Trap: a fault that loses durable bytes on a quorum proves nothing; none of these does.
"""

import errno
import os
from collections.abc import Callable

from faunadb.raft.entries import MemberId, Peer
from faunadb.raft.events import ChangeAnswer, ChangeAsked, ChangeOp, Role
from faunadb_sim.disk import PowerLoss
from faunadb_sim.host import Host
from faunadb_sim.network import Network
from faunadb_sim.options import Options
from faunadb_sim.world import US_PER_MS, US_PER_S, World

OPERATIONS_AHEAD_MAX = 30  # a plan for the disk is carried out within so many operations
MEMBERS_MAX = 6
SHORT_US = 20 * US_PER_MS


class Faults:
    """Begins with the storm and ends with it."""

    def __init__(
        self,
        world: World,
        options: Options,
        network: Network,
        hosts: dict[MemberId, Host],
        add: Callable[[], Host],
    ) -> None:
        self._world, self._options, self._network, self._hosts = world, options, network, hosts
        self._add = add
        self._is_over = False

    def begin(self) -> None:
        """Start all that this seed has."""
        options = self._options
        self._network.is_calm = False
        for rate, fault in (
            (options.cuts, self._cut),
            (options.stalls, self._stall),
            (options.slow_disks, self._slow),
            (options.disk_errors, self._disk_error),
            (options.power_at_operation, self._power_at_operation),
            (options.power_losses, self._power_loss),
            (options.kills, self._kill),
            (options.clean_stops, self._clean_stop),
            (options.pauses, self._pause),
            (options.blackouts, self._blackout),
            (options.changes, self._change),
            (options.transfers, self._transfer),
        ):
            if rate:
                self._repeat(rate, fault)
        if options.skew_s and options.voters > 1:  # one clock alone is the cluster's
            host = self._some()
            host.clock.skew_us = int(options.skew_s * US_PER_S)
            self._world.fault("skew", f"m{host.id} {options.skew_s} s")

    def stop(self) -> None:
        """End the storm: every link, disk and process works from here on; clocks stay wrong."""
        self._is_over = True
        self._network.is_calm = True
        self._network.cut.clear()
        for host in self._hosts.values():
            host.disk.plan = None
            host.stalled_until_us = host.slow_until_us = 0
            host.paused_until_us = min(host.paused_until_us, self._world.now_us)
            host.start()

    def _repeat(self, rate: float, fault: Callable[[], None]) -> None:
        def happen() -> None:
            if not self._is_over:
                fault()
                self._repeat(rate, fault)

        wait_us = self._world.chance.expovariate(rate) * US_PER_S
        self._world.after(wait_us, "storm", happen)

    def _some(self) -> Host:
        """Draw a member; the leader often, because there it hurts."""
        hosts = list(self._hosts.values())
        leading = [h for h in hosts if h.process and h.member.core.role is Role.LEADER]
        if leading and self._world.chosen(0.3):
            hosts = leading
        return hosts[self._world.chance.randrange(len(hosts))]

    # ------------------------------------------------------------ links

    def _cut(self) -> None:
        """Cut a member off from some others, one way or both; it heals by itself."""
        one = self._some().id
        both_ways = self._world.chosen(0.5)
        outward = self._world.chosen(0.5)
        pairs: set[tuple[MemberId, MemberId]] = set()
        for other in self._hosts:
            if other != one and self._world.chosen(0.7):
                pairs |= {(one, other)} if both_ways or outward else set()
                pairs |= {(other, one)} if both_ways or not outward else set()
        if not pairs:
            return
        self._world.fault("cut both ways" if both_ways else "cut one way", f"{sorted(pairs)}")
        self._network.cut |= pairs
        heal_us = self._world.between(50 * US_PER_MS, 3 * US_PER_S)
        self._world.after(heal_us, "heal", lambda: self._network.cut.difference_update(pairs))

    # ------------------------------------------------------------ disks

    def _stall(self) -> None:
        host = self._some()
        for_us = self._world.between(100 * US_PER_MS, 3 * US_PER_S)
        host.stalled_until_us = self._world.now_us + for_us
        self._world.fault("disk stall", f"m{host.id} {for_us} us")

    def _slow(self) -> None:
        host = self._some()
        host.slow_until_us = self._world.now_us + self._world.between(US_PER_S, 3 * US_PER_S)
        self._world.fault("slow disk", f"m{host.id}")

    def _disk_error(self) -> None:
        host = self._some()
        operation = "pwrite" if self._world.chosen(0.5) else "fdatasync"
        self._plan(host, OSError(errno.EIO, os.strerror(errno.EIO)), operation)

    def _power_at_operation(self) -> None:
        self._plan(self._some(), PowerLoss(), "")

    def _plan(self, host: Host, problem: BaseException, kind: str) -> None:
        """Let the n-th disk operation from now (of a kind) fail."""
        left = self._world.chance.randrange(OPERATIONS_AHEAD_MAX)
        name = "power at an operation" if isinstance(problem, PowerLoss) else f"EIO on {kind}"

        def plan(_: int, operation: str, path: str) -> None:
            nonlocal left
            if kind in {"", operation}:
                left -= 1
                if left < 0:
                    host.disk.plan = None
                    self._world.fault(name, f"m{host.id} {operation} {path}")
                    self._restart_later(host)
                    raise problem

        host.disk.plan = plan

    # ------------------------------------------------------------ processes

    def _power_loss(self) -> None:
        host = self._some()
        if host.is_up:
            self._world.fault("power loss", f"m{host.id}")
            host.lose_power()
            self._restart_later(host)

    def _kill(self) -> None:
        host = self._some()
        if host.is_up:
            self._world.fault("kill", f"m{host.id}")
            host.kill()
            self._restart_later(host)

    def _clean_stop(self) -> None:
        host = self._some()
        if host.is_up:
            self._world.fault("clean stop", f"m{host.id}")
            host.do(host.member.transfer)
            host.later(300 * US_PER_MS, "stop", lambda: self._stopped(host))

    def _stopped(self, host: Host) -> None:
        host.stop_cleanly()
        self._restart_later(host)

    def _pause(self) -> None:
        host = self._some()
        for_us = self._world.between(50 * US_PER_MS, 3 * US_PER_S)
        host.paused_until_us = max(host.paused_until_us, self._world.now_us + for_us)
        self._world.fault("pause", f"m{host.id} {for_us} us")

    def _blackout(self) -> None:
        self._world.fault("all lose power")
        for host in self._hosts.values():
            host.lose_power()
            self._restart_later(host)

    def _restart_later(self, host: Host) -> None:
        short = self._options.short_restarts and self._world.chosen(0.7)
        longest_us = SHORT_US if short else 2 * US_PER_S
        self._world.after(self._world.between(0, longest_us), f"restart m{host.id}", host.start)

    # ------------------------------------------------------------ membership

    def _transfer(self) -> None:
        host = self._some()
        if host.is_up:
            self._world.fault("transfer", f"from m{host.id}")
            host.do(host.member.transfer)

    def _change(self) -> None:
        """Ask the leader, if one is known, for a change that makes sense to it or does not."""
        leading = [
            host
            for host in self._hosts.values()
            if host.process is not None and host.member.core.role is Role.LEADER
        ]
        if not leading:
            return
        leader = leading[-1]
        at, configuration = leader.member.core.committed_configuration
        learners, voters = list(configuration.learners), list(configuration.voters)
        op, peer = self._draw_change(voters, learners)
        if peer is None:
            return
        outgoing = voters[self._world.chance.randrange(len(voters))].id
        self._world.fault(f"change {op.value}", f"m{peer.id}")

        def told(answer: ChangeAnswer) -> None:
            self._world.say(f"change {op.value} m{peer.id}: {answer.refused or 'done'}")

        leader.do(
            lambda: leader.member.change(
                lambda token: ChangeAsked(token, op, peer, at, outgoing), told
            )
        )

    def _draw_change(
        self, voters: list[Peer], learners: list[Peer]
    ) -> tuple[ChangeOp, Peer | None]:
        if learners and self._world.chosen(0.7):
            op = ChangeOp.SWAP if self._world.chosen(0.4) else ChangeOp.PROMOTE
            return op, learners[0]
        if len(self._hosts) < MEMBERS_MAX and self._world.chosen(0.6):
            return ChangeOp.ADD_LEARNER, self._add().peer
        if len(voters) > 3:
            return ChangeOp.REMOVE, voters[self._world.chance.randrange(len(voters))]
        return ChangeOp.REMOVE, None
