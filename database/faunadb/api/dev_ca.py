"""Certificates for members that no operator looks after: `faunadb dev-ca`.

    {folder}/ca.crt ca.key             the authority
    {folder}/{member}/ca.crt tls.crt tls.key    one folder per member, for `--tls-dir`
    {folder}/operator/…                the leaf of whoever administers
    {folder}/backup/…                  a leaf that may read for backups, and nothing else

Trap: the key of the authority lies beside the leaves. This is for one machine, not for a cluster
that matters.
"""

import datetime as dt
import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from faunadb.net.tls import CLUSTER_URI, ROLE_URI

_Key = ec.EllipticCurvePrivateKey
OPERATOR, BACKUP = "operator", "backup"


def write_dev_ca(
    folder: Path,
    cluster_id: str,
    members: Mapping[str, Sequence[str]],
    *,
    now: dt.datetime,
    days: int = 365,
) -> None:
    """Write an authority, a leaf per member (name → its hosts) and the operator's.

    `cluster_id` is 32 hex digits; hosts are DNS names or IP addresses. Raises FileExistsError
    when the folder has an authority already: leaves of two would not trust each other.
    """
    assert not {OPERATOR, BACKUP} & members.keys()
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = _make_authority(cluster_id, now, days)
    with (folder / "ca.crt").open("xb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
    _write_key(folder / "ca.key", key)
    for name, hosts in [*members.items(), (OPERATOR, []), (BACKUP, [])]:
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        leaf = _make_leaf(
            key,
            certificate,
            leaf_key,
            cluster_id=cluster_id,
            name=name,
            hosts=hosts,
            role=BACKUP if name == BACKUP else None,
            now=now,
            days=days,
        )
        home = folder / name
        home.mkdir(exist_ok=True)
        (home / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (home / "tls.crt").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        _write_key(home / "tls.key", leaf_key)


def _make_authority(cluster_id: str, now: dt.datetime, days: int) -> tuple[_Key, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"faunadb dev-ca {cluster_id[:8]}")
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _make_leaf(
    authority_key: _Key,
    authority: x509.Certificate,
    key: _Key,
    *,
    cluster_id: str,
    name: str,
    hosts: Sequence[str],
    role: str | None,
    now: dt.datetime,
    days: int,
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(CLUSTER_URI + cluster_id)]
    names.extend(_host(host) for host in hosts)
    if role is not None:
        names.append(x509.UniformResourceIdentifier(ROLE_URI + role))
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(_name(name), authority.subject, key, now, days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(both, critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _Key, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    """An hour of grace before `now`, for clocks that differ."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_key(path: Path, key: _Key) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - the mode counts
        file.write(pem)
