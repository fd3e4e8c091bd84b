"""Bugs of time, reads and leadership: `faunadb/node`."""

from planted.bug import Bug

TESTS = "tests/faunadb/node"

BUGS = (
    Bug(
        name="a new leader does not look into its inherited tail",
        file="node/state.py",
        old="overlay.load([((entry.term, entry.index), _payload(entry)) for entry in tail])",
        new="overlay.load([((entry.term, entry.index), None) for entry in tail])",
        test=f"{TESTS}/test_member.py::test_a_new_leader_sees_the_tail_that_it_inherited",
        says=("applied twice", "appended once", "not linearizable"),
    ),
    Bug(
        name="a new leader's timestamps begin anywhere",
        file="node/member.py",
        old="counter=Counter(self.state.highest_us(tail)),",
        new="counter=Counter(0),",
        test=f"{TESTS}/test_member.py::test_a_new_leader_begins_above_all_that_was_told",
        # the last: its snapshot lies before the schema that was acknowledged
        says=(
            "had been answered",
            "share the time",
            "the order of the log is the order of timestamps",
            "request id was not drawn",
            "unbound_variable",
        ),
    ),
    Bug(
        name="one clock moves the time of all",
        file="node/timestamps.py",
        old="monotonic_us + offsets[(len(offsets) - 1) // 2]",
        new="monotonic_us + offsets[-1]",
        test=f"{TESTS}/test_timestamps.py::test_a_minority_of_clocks_moves_nothing",
    ),
    Bug(
        name="a minority of clocks is believed",
        file="node/timestamps.py",
        old="return offsets if len(offsets) * 2 > len(members) else None",
        new="return offsets or None",
        test=f"{TESTS}/test_timestamps.py::test_no_time_before_a_majority_was_heard",
    ),
    Bug(
        name="two timestamps may be equal",
        file="node/timestamps.py",
        old="first = max(self.last_us + 1, now_us or 0)",
        new="first = max(self.last_us, now_us or 0)",
        test=f"{TESTS}/test_timestamps.py::test_no_timestamp_comes_twice",
    ),
    Bug(
        name="any time that a client names is believed",
        file="node/timestamps.py",
        old="if last_txn_ts > max(ceiling_us, self.last_us) + LAST_TXN_TS_AHEAD_MAX_US:",
        new="if False:",
        test=f"{TESTS}/test_timestamps.py::test_a_client_s_time_is_believed_for_a_minute",
        fails="Failed",
    ),
    Bug(
        name="a read is told a time above every committed ceiling",
        file="node/leader.py",
        old="if ts >= self._ceiling_us:",
        new="if False:",
        test=f"{TESTS}/test_leader.py::test_reads_raise_a_ceiling_and_resigning_tells_them",
        fails="ValueError",
    ),
    Bug(
        name="a read is released without its proof",
        file="node/rounds.py",
        old="if r.confirmed and r.index <= applied]",
        new="if r.index <= applied]",
        test=f"{TESTS}/test_rounds.py::test_both_the_proof_and_the_state_are_needed",
    ),
    Bug(
        name="a read is released before its view is applied",
        file="node/rounds.py",
        old="if r.confirmed and r.index <= applied]",
        new="if r.confirmed]",
        test=f"{TESTS}/test_rounds.py::test_both_the_proof_and_the_state_are_needed",
    ),
    Bug(
        name="a follower reads before it has applied the point",
        file="node/member.py",
        old="        if point.index <= self.state.applied:\n",
        new="        if True:\n",
        test=f"{TESTS}/test_member.py::test_a_follower_waits_until_it_has_applied_the_point",
    ),
    Bug(
        name="a leader whose clock is off leads on",
        file="node/member.py",
        old="if self.own_id in off:",
        new="if False:",
        test=f"{TESTS}/test_member.py::test_one_clock_an_hour_off_moves_nothing",
        says=("whose clock is off",),
    ),
    Bug(
        name="leadership is handed to another clock that is off",
        file="node/member.py",
        old="voters = {peer.id for peer in self.core.configuration[1].voters} - off",
        new="voters = {peer.id for peer in self.core.configuration[1].voters}",
        test=f"{TESTS}/test_member.py::test_leadership_goes_to_a_clock_that_is_right",
    ),
    Bug(
        name="a member sends a client's write on under another id",
        file="node/gateway.py",
        old="        if pending.query.request is None:\n",
        new="        if True:\n",
        test=f"{TESTS}/test_gateway_outcomes.py"
        "::test_a_write_of_a_lost_leader_is_sent_again_under_its_id",
    ),
    Bug(
        name="what a second leader refuses is called never applied",
        file="node/gateway.py",
        old="if isinstance(outcome, FaunaError) and pending.handed_count > 1:",
        new="if False:",
        test=f"{TESTS}/test_gateway.py"
        "::test_what_one_leader_refuses_an_earlier_one_may_have_applied",
    ),
    Bug(
        name="a write that was proposed is called never applied",
        file="node/gateway.py",
        old="if not pending.read_only and (pending.proposed or pending.sent_to):",
        new="if False:",
        test=f"{TESTS}/test_gateway_outcomes.py::test_one_answer_and_a_true_one",
    ),
    Bug(
        name="a long scan keeps its reader of the state",
        file="node/sliced.py",
        old="return self._clock.monotonic_s() - self._since_s >= SLICE_S",
        new="return False",
        test=f"{TESTS}/test_sliced.py::test_lmdb_lets_go_of_a_scan_that_is_under_way",
    ),
    Bug(
        name="a member of another incarnation is welcome",
        file="net/frames.py",
        old="return number == own.incarnation and (unknown or salt == own.incarnation_salt)",
        new="return unknown or salt == own.incarnation_salt",
        test="tests/faunadb/net/test_frames.py::test_who_is_welcome",
    ),
)
