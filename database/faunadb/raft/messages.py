"""What members say to each other about consensus. Owned by the raft part."""

import msgspec

from faunadb.raft.entries import MemberId, Term


class Message(msgspec.Struct, frozen=True):
    """Placeholder of the union until the core lands."""

    sender: MemberId
    term: Term
