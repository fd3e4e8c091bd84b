"""Who signs for whom? The cluster's own CA, and the leaves that members and the operator show.

Every leaf carries the cluster id as URI SAN, so that two clusters of one operator cannot talk to
each other, and a member's leaf carries its DNS name. Dates are seconds since 1970.
"""

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fauna_operator.model import Certificate

AUTHORITY_DAYS = 3650
LEAF_DAYS = 90
BACKDATED = timedelta(hours=1)  # clocks of nodes differ


class KeyPair(msgspec.Struct, frozen=True):
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


def make_authority(cluster: str, now: float) -> KeyPair:
    """Make a CA that signs leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{cluster} fauna CA")])
    start = datetime.fromtimestamp(now, UTC)
    usage = _usage(sign_certificates=True)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(start + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue(
    authority: KeyPair, *, cluster_id: str, names: tuple[str, ...], now: float, role: str = ""
) -> KeyPair:
    """Issue a leaf for both ends of a connection; without `names` it is a client's only.

    A `role` limits what its bearer may ask of a member; without one it may ask everything.
    """
    signer = x509.load_pem_x509_certificate(authority.certificate)
    signer_key = serialization.load_pem_private_key(authority.key, password=None)
    assert isinstance(signer_key, ec.EllipticCurvePrivateKey), "our authorities are P-256"
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.fromtimestamp(now, UTC)
    common = (names[0].split(".")[0] if names else role or "operator")[:64]
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives.append(x509.UniformResourceIdentifier(f"fauna://cluster/{cluster_id}"))
    if role:
        alternatives.append(x509.UniformResourceIdentifier(f"fauna://role/{role}"))
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if names:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(start + timedelta(days=LEAF_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()),
            critical=False,
        )
        .sign(signer_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 of a PEM certificate, 64 hex digits."""
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()


def inspect(leaf: bytes, authority: bytes) -> Certificate:
    """Read what a stored leaf says. Raises `ValueError` for bytes that are not a certificate."""
    certificate = x509.load_pem_x509_certificate(leaf)
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    hosts = extension.value.get_values_for_type(x509.DNSName)
    uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    return Certificate(
        cluster_id=uris[0].rpartition("/")[2] if uris else "",
        host=hosts[0] if hosts else "",
        not_after=certificate.not_valid_after_utc.timestamp(),
        authority=fingerprint(authority),
    )


def client_context(authority: bytes, leaf: KeyPair) -> ssl.SSLContext:
    """Return what a caller of the admin API needs: trust in the CA, and its own leaf."""
    context = ssl.create_default_context(cadata=authority.decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with tempfile.TemporaryDirectory() as folder:  # the standard library loads keys from files
        path = Path(folder) / "leaf.pem"
        path.touch(mode=0o600)
        path.write_bytes(leaf.certificate + leaf.key)
        context.load_cert_chain(path)
    return context


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
