"""What a member is told when it is started: read once, at the edge, frozen."""

from dataclasses import dataclass
from pathlib import Path

from faunadb.raft.entries import MemberId

CLIENT_PORT, ADMIN_PORT, PEER_PORT = 8443, 8444, 7500


@dataclass(frozen=True)
class Address:
    """Where a port listens; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `host:port`. Raises ValueError with a sentence."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r} is not host:port")
        return cls(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - asked for

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class RecoverSingle:
    """Begin the member's own incarnation as its only voter, from `source` (SAFETY 25).

    Its timestamps start above `floor_us`, too: what is known of the lost members.
    """

    source: int
    floor_us: int = 0


@dataclass(frozen=True)
class MemberSettings:
    """One member. `tls_dir` None and no seeds: a member that is alone for ever (`faunadb dev`)."""

    data_dir: Path
    cluster_id: bytes
    incarnation: int
    member_id: MemberId
    name: str
    root_secret: str
    client_listen: Address
    admin_listen: Address | None = None
    peer_listen: Address | None = None
    tls_dir: Path | None = None
    seeds: tuple[str, ...] = ()
    pod_uid: str | None = None
    log_format: str = "text"
    recovery: RecoverSingle | None = None
