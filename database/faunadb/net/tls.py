"""Who is at the other end: mutual TLS between members, and at the admin port.

A folder holds `ca.crt` (one certificate or a bundle, so that authorities can overlap), `tls.crt`
and `tls.key`. Every leaf carries the cluster as URI SAN `fauna://cluster/<id>`: two clusters
under one authority still do not talk. Names are verified as usual, against the DNS SANs.

Trap: a context reads its files once; `Credentials.reload` reads them again for connections that
begin later, without cutting those that stand.
"""

import ssl
from pathlib import Path
from typing import Any

CLUSTER_URI = "fauna://cluster/"
ROLE_URI = "fauna://role/"


def client_context(tls_dir: Path) -> ssl.SSLContext:
    """Return a context that verifies the server's chain and name and shows our leaf.

    Raises OSError (ssl.SSLError is one) when a file is missing or no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load(context, tls_dir)
    return context


def server_context(tls_dir: Path, *, anonymous: bool = False) -> ssl.SSLContext:
    """Return a context that demands a client leaf of our authority; `anonymous` only asks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL if anonymous else ssl.CERT_REQUIRED
    context.num_tickets = 0  # nobody resumes a session past a change of certificates
    _load(context, tls_dir)
    return context


class Credentials:
    """The contexts of one member, made from one folder."""

    def __init__(self, tls_dir: Path) -> None:
        self._tls_dir = tls_dir
        self.client = client_context(tls_dir)
        self.peer_server = server_context(tls_dir)
        self.admin_server = server_context(tls_dir, anonymous=True)

    def reload(self) -> None:
        """Read the folder again: new leaf and new authorities count for new connections."""
        for context in (self.client, self.peer_server, self.admin_server):
            _load(context, self._tls_dir)


def clusters_of(certificate: dict[str, Any] | None) -> frozenset[str]:
    """Return the cluster ids (hex) that a verified leaf may speak for; none without one."""
    return _named_by(certificate, CLUSTER_URI)


def roles_of(certificate: dict[str, Any] | None) -> frozenset[str]:
    """Return the roles that a verified leaf is limited to; none means that it is not limited."""
    return _named_by(certificate, ROLE_URI)


def carries_name(certificate: dict[str, Any] | None, name: str) -> bool:
    """Return whether the host part of a member's `name` is in its leaf (no wildcards)."""
    host = split_name(name)[0]
    names = {
        *_alternative_names(certificate, "DNS"),
        *_alternative_names(certificate, "IP Address"),
    }
    return host in names


def split_name(name: str) -> tuple[str, int]:
    """Take a member's name apart: host and peer port, 7500 where it says none.

    >>> split_name("orders-1.orders-members"), split_name("localhost:7502")
    (('orders-1.orders-members', 7500), ('localhost', 7502))
    """
    host, colon, port = name.rpartition(":")
    if not colon or not port.isdecimal():
        return name, 7500
    return host, int(port)


def _named_by(certificate: dict[str, Any] | None, uri: str) -> frozenset[str]:
    names = _alternative_names(certificate, "URI")
    return frozenset(name.removeprefix(uri) for name in names if name.startswith(uri))


def _alternative_names(certificate: dict[str, Any] | None, kind: str) -> list[str]:
    entries = (certificate or {}).get("subjectAltName", ())
    return [value for found, value in entries if found == kind]


def _load(context: ssl.SSLContext, tls_dir: Path) -> None:
    context.load_verify_locations(tls_dir / "ca.crt")
    context.load_cert_chain(tls_dir / "tls.crt", tls_dir / "tls.key")
