"""Bugs of evaluation and commit: what is at the tip, what conflicts, who is answered when."""

from planted.bug import Bug

NODE = "tests/faunadb/node"
STORE = "tests/faunadb/store"

BUGS = (
    Bug(
        name="a known request is applied again",
        file="node/leader.py",
        old="        known = self._tip.find(query)\n",
        new="        known = None\n",
        test=f"{NODE}/test_member.py::test_a_retry_finds_its_answer",
        says=("applied twice", "appended once", "not linearizable"),
    ),
    Bug(
        name="a write is answered before it is committed",
        file="node/leader.py",
        old="self._proposals[index] = "
        "_Proposal(self.term, query.request, answer, [done], deadline_s)",
        new="done(answer)",
        test=f"{NODE}/test_member.py::test_an_answer_waits_for_the_disk",
    ),
    Bug(
        name="an answer without an entry does not wait for its proof",
        file="node/leader.py",
        old="self.rounds.join(lambda proven: done(answer if proven else NotLeader()))",
        new="done(answer)",
        test=f"{NODE}/test_leader.py::test_an_answer_without_an_entry_waits_for_a_round",
    ),
    Bug(
        name="an entry of another term answers a write that it replaced",
        file="node/leader.py",
        old="done(proposal.answer if proposal.term == term else NotLeader())",
        new="done(proposal.answer)",
        test=f"{NODE}/test_leader.py::test_another_term_took_its_place",
    ),
    Bug(
        name="effects from a worker are not validated",
        file="node/leader.py",
        old="if self._tip.still_valid(outcome, self.term) and not self._tip.expired(",
        new="if not self._tip.expired(",
        test=f"{NODE}/test_member.py::test_a_long_write_that_was_overtaken_is_evaluated_again",
    ),
    Bug(
        name="two sendings of a long write are both applied",
        file="node/leader.py",
        old="                if self._is_retry(query, deadline_s, done):\n"
        "                    return  # another",
        new="                if False:\n                    return  # another",
        test=f"{NODE}/test_member.py::test_two_sendings_of_a_long_write_are_applied_once",
    ),
    Bug(
        name="an answer to a later sending is not remembered",
        file="node/leader.py",
        old="return query.request is not None and query.attempt > 1",
        new="return False",
        test=f"{NODE}/test_leader.py::test_an_answer_that_must_be_remembered_gets_an_entry",
    ),
    Bug(
        name="clients write while the cluster is closed",
        file="node/leader.py",
        old="elif not self._tip.is_open:",
        new="elif False:",
        test=f"{NODE}/test_member.py::test_a_cluster_that_is_not_open_refuses_writes_only",
    ),
    Bug(
        name="the tip forgets what is appended and not applied",
        file="node/tip.py",
        old="self._overlay.prune(self._opened.applied_index)",
        new="self._overlay.prune(self._overlay.last[1])",
        test=f"{NODE}/test_member.py::test_the_tip_holds_what_is_appended_and_not_applied",
    ),
    Bug(
        name="a request in the tail is not known",
        file="store/overlay.py",
        old="return found if found is not None else find_request(reader, request)",
        new="return find_request(reader, request)",
        test=f"{STORE}/test_overlay.py::test_a_new_leader_takes_in_what_it_inherits",
    ),
    Bug(
        name="a deletion in the tail does not hide what is applied",
        file="store/overlay.py",
        old="return self._base.get(key) if found is None else found[1]",
        new="return self._base.get(key) if found is None or found[1] is None else found[1]",
        test=f"{STORE}/test_overlay.py::test_a_deleted_pair_hides_the_applied_one",
    ),
    Bug(
        name="the window is believed beyond what it remembers",
        file="store/overlay.py",
        old="return base >= self.start",
        new="return True",
        test=f"{STORE}/test_overlay.py::test_the_window_forgets_by_bytes",
    ),
    Bug(
        name="what was looked for and not found does not conflict",
        file="store/buffer.py",
        old="        self._points.add(prefix)\n",
        new="",
        test=f"{STORE}/test_transaction.py"
        "::test_everything_that_is_read_conflicts_and_nothing_else",
    ),
    Bug(
        name="a range conflicts only where something was found",
        file="store/buffer.py",
        old="        span.start, span.end = start, end\n",
        new="",
        test=f"{STORE}/test_unique.py::test_two_that_take_one_tuple_at_once_conflict",
    ),
    Bug(
        name="a change of the schema conflicts with nobody",
        file="store/buffer.py",
        old="{keys.schema_prefix(scope)}",
        new="set()",
        test=f"{STORE}/test_transaction.py::test_a_schema_write_conflicts_with_every_query",
    ),
    Bug(
        name="a query does not see its own writes in a set",
        file="store/buffer.py",
        old="        if not own:\n            return stored\n",
        new="        if True:\n            return stored\n",
        test=f"{STORE}/test_transaction.py::test_a_view_is_what_a_dictionary_says",
    ),
    Bug(
        name="what a worker found for a leadership that is over is taken",
        file="node/leader.py",
        old="            if self._resigned:\n"
        "                done(NotLeader())\n"
        "            elif isinstance",
        new="            if isinstance",
        test=f"{NODE}/test_leader.py::test_a_long_program_that_comes_too_late",
    ),
)
