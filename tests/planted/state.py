"""Bugs of the replicated state: `faunadb/machine.py` and what `faunadb/store` keeps."""

from planted.bug import Bug

MACHINE = "tests/faunadb/test_machine.py"
STORE = "tests/faunadb/store"

BUGS = (
    Bug(
        name="the applied index is not in the transaction of its data",
        file="machine.py",
        old="        self._puts.append(bookkeeping_pair(self.record()))\n",
        new="",
        test=f"{MACHINE}::test_batches_and_crashes_make_no_difference",
    ),
    Bug(
        name="a request is applied twice without a word",
        file="machine.py",
        old="known = request in self._requests or self._writer.get(key) is not None",
        new="known = False",
        test=f"{MACHINE}::test_a_request_that_was_applied_is_a_crash",
        fails="Failed",
    ),
    Bug(
        name="what is removed stays in the state hash",
        file="machine.py",
        old="        self._hash -= sum([_pair_hash(key, raw) for key, raw in pairs])\n",
        new="",
        test=f"{MACHINE}::test_a_deleted_key_leaves_the_hash",
    ),
    Bug(
        name="a removal does not see what its own batch wrote",
        file="machine.py",
        old="                self._flush()\n                pairs",
        new="                pairs",
        test=f"{MACHINE}::test_a_removal_sees_what_its_own_batch_wrote",
    ),
    Bug(
        name="the hash at an entry is that of its batch",
        file="machine.py",
        old="return Hashed(index, self._state_hash())",
        new="return Hashed(index, self._record.state_hash)",
        test=f"{MACHINE}::test_batches_and_crashes_make_no_difference",
    ),
    Bug(
        name="an entry of an unknown kind is skipped",
        file="machine.py",
        old='raise Malformed(f"entry {entry.index} is of unknown kind {entry.kind}")',
        new="return Nothing(entry.index)",
        test=f"{MACHINE}::test_what_is_not_understood_is_never_skipped",
        fails="Failed",
    ),
    Bug(
        name="the oldest request is the one that came first",
        file="machine.py",
        old="self.oldest_request = min(request.born_us, self.oldest_request or request.born_us)",
        new="self.oldest_request = self.oldest_request or request.born_us",
        test=f"{MACHINE}::test_the_oldest_request_is_known_whatever_order_they_come_in",
    ),
    Bug(
        name="requests are forgotten while they may come again",
        file="store/requests.py",
        old="max(ts - REQUEST_HORIZON_US, 0)",
        new="max(ts, 0)",
        test=f"{MACHINE}::test_the_oldest_request_is_known_whatever_order_they_come_in",
    ),
    Bug(
        name="a worker number is given away twice",
        file="store/bookkeeping.py",
        old="while worker in held:",
        new="while False:",
        test=f"{STORE}/test_bookkeeping.py::test_worker_numbers_come_round_and_stay_apart",
    ),
    Bug(
        name="a snapshot does not see what was written at its own time",
        file="store/mvcc.py",
        old="        if tail < first:\n",
        new="        if tail <= first:\n",
        test=f"{STORE}/test_mvcc.py::test_a_snapshot_is_what_a_list_of_versions_says",
    ),
    Bug(
        name="a deletion goes before what it hides",
        file="store/history.py",
        old="if hiding is not None and visited < command.keys_max "
        "and not command.end.startswith(kept):",
        new="if hiding is not None:",
        test=f"{STORE}/test_history.py::test_a_deletion_goes_with_all_that_it_hides",
    ),
    Bug(
        name="versions go that a snapshot at the horizon sees",
        file="store/history.py",
        old="if command.everything or prefix == kept:",
        new="if True:",
        test=f"{STORE}/test_history.py::test_nothing_that_can_be_read_goes",
    ),
    Bug(
        name="an index keeps entries of earlier versions",
        file="store/transaction.py",
        old="        now += [(place, Entry(mvcc.DELETED, None)) "
        "for place in base if place not in entries]\n",
        new="",
        test=f"{STORE}/test_transaction.py::test_a_view_is_what_a_dictionary_says",
    ),
    Bug(
        name="a unique constraint is not looked at",
        file="store/transaction.py",
        old="            check_unique(doc_id, by_index, self._buffer.live)\n",
        new="",
        test=f"{STORE}/test_unique.py::test_a_tuple_is_taken_exactly_while_another_document_has_it",
        fails="Failed",
    ),
)
