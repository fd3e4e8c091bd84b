"""Headers and secrets of a request."""

import base64

import pytest

from faunadb.api.auth import Authenticator, parse_secret
from faunadb.api.options import Options, read_options
from faunadb.api.ports import Secret
from faunadb.codec import RequestId
from faunadb.errors import InvalidRequest, Unauthorized
from faunadb.fql.credentials import Claim, key_secret, secret_hash, token_secret
from faunadb.fql.tagged import Format
from faunadb.node.query import Caller

KEY = key_secret(7, b"r" * 20)


def test_without_headers_everything_has_its_default() -> None:
    """Simple format, two minutes, five attempts."""
    assert Options(Format.SIMPLE, False, 0, 120_000, 5, "", None) == read_options({})


def test_headers_are_read() -> None:
    """Each header has its field."""
    headers = {
        "x-format": "tagged",
        "x-typecheck": "TRUE",
        "x-linearized": "false",
        "x-last-txn-ts": "1700000000000000",
        "x-query-timeout-ms": "600000",
        "x-max-contention-retries": "0",
        "x-query-tags": "a=b,c=d",
        "x-fauna-request-id": f"17-{'0f' * 16}",
    }

    assert Options(
        Format.TAGGED,
        True,
        1_700_000_000_000_000,
        600_000,
        1,
        "a=b,c=d",
        RequestId(17, b"\x0f" * 16),
        attempt=2,
    ) == read_options(headers)


@pytest.mark.parametrize(("said", "attempt"), [(None, 2), ("1", 1), ("7", 7)])
def test_who_names_a_request_and_does_not_say_may_be_sending_it_again(
    said: str | None, attempt: int
) -> None:
    """Without a name there is nothing to find again, so it is the first (SAFETY 5)."""
    headers = {"x-fauna-request-id": f"17-{'0f' * 16}"}
    if said:
        headers["x-fauna-request-attempt"] = said

    assert attempt == read_options(headers).attempt
    assert 1 == read_options({}).attempt


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("x-format", "xml", "Invalid format xml"),
        ("x-typecheck", "yes", "Must be a boolean value."),
        ("x-linearized", "1", "Must be a boolean value."),
        ("x-performance-hints", "", "Must be a boolean value."),
        ("x-last-txn-ts", "z", "Invalid timestamp 'z'."),
        ("x-last-txn-ts", "9223372036854775808", "Invalid timestamp '9223372036854775808'."),
        ("x-query-timeout-ms", "soon", "Invalid number 'soon'."),
        ("x-query-timeout-ms", "0", "Must be greater than 0."),
        ("x-query-timeout-ms", "600001", "Must be less than or equal to 600000."),
        ("x-max-contention-retries", "8", "Must be between 0 and 7."),
        ("x-max-contention-retries", "1.5", "Invalid number '1.5'."),
        ("x-query-tags", "a=b,a=c", "duplicate key"),
        ("x-query-tags", "a", "invalid tags"),
        ("x-query-tags", "a=", "invalid tags"),
        ("x-query-tags", "a b=c", "invalid tags"),
        ("x-query-tags", f"{'a' * 41}=b", "invalid key (too long)"),
        ("x-query-tags", f"a={'b' * 81}", "invalid value (too long)"),
        ("x-query-tags", ",".join(f"k{n}=v" for n in range(26)), "too many tags"),
        ("x-query-tags", "a=" + "b" * 3000, "header is too long"),
        ("x-fauna-request-id", "17", "Invalid request id '17'."),
    ],
)
def test_a_bad_header_is_named(header: str, value: str, reason: str) -> None:
    """The refusal names the header and says what it must be."""
    with pytest.raises(InvalidRequest) as refused:
        read_options({header: value})
    assert f"Invalid header '{header}': {reason}" == str(refused.value)


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        ("Bearer abc", Secret("abc")),
        ("bearer  abc ", Secret("abc")),
        (basic("abc:"), Secret("abc")),
        (basic("abc"), Secret("abc")),
        ("Bearer abc:admin", Secret("abc", (), "admin")),
        ("Bearer abc:server-readonly", Secret("abc", (), "server-readonly")),
        ("Bearer abc:@role/Buyer", Secret("abc", (), "@role/Buyer")),
        ("Bearer abc:a/b:@doc/Person/1", Secret("abc", ("a", "b"), "@doc/Person/1")),
        ("Bearer abc:collections/Person/1", Secret("abc", (), "collections/Person/1")),
        (None, None),
        ("", None),
        ("abc", None),
        ("Bearer", None),
        ("Bearer :admin", None),
        ("Bearer abc:god", None),
        ("Bearer abc:a:b:admin", None),
        ("Bearer abc:@role/", None),
        ("Bearer abc:a b:admin", None),
        ("Basic !", None),
        ("Digest abc", None),
        ("Bearer " + "a" * 5000, None),
    ],
)
def test_a_secret_is_taken_apart(header: str | None, secret: Secret | None) -> None:
    """Key, database and role; anything else is no secret."""
    assert secret == parse_secret(header)


def test_the_root_secret_may_act_as_any_role() -> None:
    """The root is admin unless it says less."""
    door = Authenticator("secret")

    assert Caller("admin") == door.caller("Bearer secret")
    assert Caller("@role/Buyer") == door.caller("Bearer secret:@role/Buyer")


@pytest.mark.parametrize(
    "header",
    [None, "Bearer wrong", "Bearer secret:Child:admin", f"Bearer {KEY}:Child:admin", "Bearer é",
     "Bearer eyJhbGciOiJSUzI1NiJ9.e30.AAAA"],
)  # fmt: skip
def test_what_no_secret_looks_like_opens_nothing(header: str | None) -> None:
    """Child databases and tokens of access providers are not built: 401 like any other."""
    with pytest.raises(Unauthorized, match="Access token required"):
        Authenticator("secret").caller(header)


def test_of_a_key_only_its_claim_goes_on() -> None:
    """The secret stays here; without proof a caller has no role at all."""
    door = Authenticator("secret")

    claim = Claim("key", 7, secret_hash(b"r" * 20))
    assert Caller("", claim=claim) == door.caller(f"Bearer {KEY}")
    assert Caller("", claim=claim, asked="@doc/A/1") == door.caller(f"Bearer {KEY}:@doc/A/1")
    token = Claim("token", 7, secret_hash(b"r" * 20), 3)
    assert Caller("", claim=token) == door.caller(f"Bearer {token_secret(7, 3, b'r' * 20)}")
    assert KEY not in repr(door.caller(f"Bearer {KEY}"))
