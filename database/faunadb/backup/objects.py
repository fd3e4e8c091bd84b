"""Where do backups lie? In one object store behind a few calls: S3, or a folder.

    s3://bucket/prefix?region=us-east-1&endpoint=http://host:port&path_style=true
    file:///absolute/folder

House rules: only this module knows obstore. Credentials come from a folder of files
(`access-key-id`, `secret-access-key`, optional `session-token`, `ca.crt`), never from an argument;
without a folder, from where we run (a role of the machine or pod). Keys are relative to the URL.
Trap: an object is there when `put` returned, and whole; for a folder that needs our own fsyncs.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import S3Store

TRANSFER_S_MAX = 600  # of one object: 64 MiB at 0.1 MiB/s
RETRY_S_MAX = 60  # that a store may be away; a Job is begun again later
RETRIES_MAX = 40
_CODE = re.compile(r"<Code>(\w+)</Code>")  # a missing bucket is 404, too
_CAUSE = re.compile(r'(?<=message: ")[^"]+|InvalidCertificate\([^)]*\)|dns error')
_S3_OPTIONS = frozenset({"region", "endpoint", "path_style"})


class StoreFailed(OSError):
    """The object store did not do what it was asked; a retry may help."""


class ObjectMissing(StoreFailed):
    """There is no such object."""


class ObjectExists(StoreFailed):
    """`put_new` found one under this name."""


class StoreMisnamed(ValueError):
    """A store's URL or credentials are not what they should be; the message is a sentence."""


class Stored(NamedTuple):
    """One object of a listing."""

    key: str
    size_bytes: int


class Objects(Protocol):
    """An object store. All but the constructor raise `StoreFailed`."""

    def put(self, key: str, data: bytes | bytearray) -> None:
        """Write an object, replacing one of this name; durable and whole on return."""
        ...

    def put_new(self, key: str, data: bytes | bytearray) -> None:
        """Write an object that must not exist yet. Raises `ObjectExists`."""
        ...

    def get(self, key: str, bytes_max: int) -> memoryview:
        """Read an object. Raises `ObjectMissing`; `StoreFailed` when it is larger."""
        ...

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield all objects in the folder `prefix` and below, in no order."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""
        ...


@dataclass(frozen=True)
class StoreUrl:
    """A store's URL, taken apart; `path` is the folder, or the prefix in the bucket."""

    kind: str
    bucket: str
    path: str
    options: dict[str, str] = field(default_factory=dict)


def parse_store_url(text: str) -> StoreUrl:
    """Take a `--store` apart. Raises `StoreMisnamed`.

    >>> parse_store_url("s3://backups/orders?region=eu-central-1").path
    'orders'
    """
    url = urlsplit(text)
    try:
        options = {k: v[-1] for k, v in parse_qs(url.query, strict_parsing=bool(url.query)).items()}
    except ValueError:
        raise StoreMisnamed(f"{text!r}: what stands behind ? is not name=value&…") from None
    if url.scheme == "file":
        if url.netloc or not url.path.startswith("/") or options or url.path == "/":
            raise StoreMisnamed(f"{text!r} is not file:///absolute/folder")
        return StoreUrl("file", "", unquote(url.path))
    if url.scheme != "s3":
        raise StoreMisnamed(f"{text!r}: a store is s3://bucket/prefix or file:///absolute/folder")
    if not url.netloc:
        raise StoreMisnamed(f"{text!r} names no bucket")
    if unknown := sorted(options.keys() - _S3_OPTIONS):
        raise StoreMisnamed(f"{text!r}: {unknown[0]} is none of {', '.join(sorted(_S3_OPTIONS))}")
    if options.get("path_style", "true") not in {"true", "false"}:
        raise StoreMisnamed(f"{text!r}: path_style is true or false")
    return StoreUrl("s3", url.netloc, unquote(url.path).strip("/"), options)


def open_store(url: str, credentials_dir: Path | None = None) -> Objects:
    """Open a store by its URL. Raises `StoreMisnamed`, OSError for credentials that are missing."""
    parsed = parse_store_url(url)
    if parsed.kind == "file":
        return FolderObjects(Path(parsed.path))
    return S3Objects(parsed, _read_credentials(credentials_dir))


def _read_credentials(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return {}
    found = {
        name: (folder / name).read_text().strip()
        for name in ("access-key-id", "secret-access-key", "session-token", "ca.crt")
        if (folder / name).exists()
    }
    for name in ("access-key-id", "secret-access-key"):
        if not found.get(name):
            raise StoreMisnamed(f"{folder} holds no {name}")
    return found


class S3Objects:
    """A bucket, below a prefix. One request for each object: no upload is ever half there."""

    def __init__(self, url: StoreUrl, credentials: dict[str, str]) -> None:
        endpoint = url.options.get("endpoint")
        config: dict[str, Any] = {
            "bucket": url.bucket,
            "region": url.options.get("region", "us-east-1"),
            "virtual_hosted_style_request": url.options.get("path_style") == "false"
            or (endpoint is None and url.options.get("path_style") is None),
        }
        if endpoint is not None:
            config["endpoint"] = endpoint
        for name, option in (
            ("access-key-id", "access_key_id"),
            ("secret-access-key", "secret_access_key"),
            ("session-token", "session_token"),
        ):
            if name in credentials:
                config[option] = credentials[name]
        client: dict[str, Any] = {
            "timeout": timedelta(seconds=TRANSFER_S_MAX),
            "connect_timeout": timedelta(seconds=10),
            "allow_http": endpoint is not None and endpoint.startswith("http://"),
        }
        if "ca.crt" in credentials:
            client["root_certificate"] = credentials["ca.crt"]
        retry: dict[str, Any] = {
            "retry_timeout": timedelta(seconds=RETRY_S_MAX),
            "max_retries": RETRIES_MAX,
        }
        try:
            self._store = S3Store(
                prefix=url.path or None,
                config=config,  # type: ignore[arg-type]  # a dict made in steps
                client_options=client,  # type: ignore[arg-type]  # the same
                retry_config=retry,  # type: ignore[arg-type]  # the same
            )
        except (BaseError, ValueError) as problem:
            raise StoreMisnamed(f"s3://{url.bucket}: {problem}") from problem
        self._name = f"s3://{url.bucket}/{url.path}".rstrip("/")

    def put(self, key: str, data: bytes | bytearray) -> None:
        try:
            obstore.put(self._store, key, data, use_multipart=False)
        except (BaseError, OSError) as problem:
            self._fail(key, problem)

    def put_new(self, key: str, data: bytes | bytearray) -> None:
        """Write an object on the condition that there is none, where the store can do that."""
        if self._exists(key):
            raise ObjectExists(f"{self._name}/{key} exists")
        try:
            obstore.put(self._store, key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            raise ObjectExists(f"{self._name}/{key} exists") from None
        except (BaseError, OSError) as problem:
            if isinstance(problem, NotSupportedError) or _code_of(problem) == "NotImplemented":
                self.put(key, data)
            else:
                self._fail(key, problem)

    def get(self, key: str, bytes_max: int) -> memoryview:
        try:
            found = obstore.get(self._store, key)
            if found.meta["size"] > bytes_max:
                raise StoreFailed(f"{self._name}/{key} has {found.meta['size']} bytes")
            return memoryview(found.bytes())
        except (BaseError, OSError) as problem:
            self._fail(key, problem)

    def list(self, prefix: str) -> Iterator[Stored]:
        try:
            for page in obstore.list(self._store, prefix.rstrip("/") or None):
                for found in page:
                    yield Stored(found["path"], found["size"])
        except (BaseError, OSError) as problem:
            self._fail(prefix, problem)

    def delete(self, key: str) -> None:
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as problem:
            self._fail(key, problem)

    def _exists(self, key: str) -> bool:
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as problem:
            self._fail(key, problem)
        return True

    def _fail(self, key: str, problem: Exception) -> NoReturn:
        if isinstance(problem, StoreFailed):
            raise problem
        if isinstance(problem, FileNotFoundError) and _code_of(problem) in {"", "NoSuchKey"}:
            raise ObjectMissing(f"there is no {self._name}/{key}") from problem
        said, _, source = str(problem).partition("\n\nDebug source:")
        cause = _CAUSE.search(source)
        why = f" ({cause[0]})" if cause else ""
        raise StoreFailed(f"{self._name}/{key}: {said}{why}") from problem


def _code_of(problem: Exception) -> str:
    """Return the code that S3 said, "" for none."""
    found = _CODE.search(str(problem))
    return found[1] if found else ""


class FolderObjects:
    """A folder of a mounted volume; an object gets its name when its bytes are synced."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, data: bytes | bytearray) -> None:
        with self._failing(key):
            self._write(key, data).replace(self._root / key)
            self._sync_folders(key)

    def put_new(self, key: str, data: bytes | bytearray) -> None:
        target = self._root / key
        if target.exists():
            raise ObjectExists(f"{target} exists")
        with self._failing(key):
            temporary = self._write(key, data)
            try:
                target.hardlink_to(temporary)
                temporary.unlink()
            except FileExistsError:
                temporary.unlink()
                raise ObjectExists(f"{target} exists") from None
            except OSError:  # this file system has no links
                temporary.replace(target)
            self._sync_folders(key)

    def get(self, key: str, bytes_max: int) -> memoryview:
        with self._failing(key), (self._root / key).open("rb") as file:
            data = file.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise StoreFailed(f"{self._root / key} has more than {bytes_max} bytes")
        return memoryview(data)

    def list(self, prefix: str) -> Iterator[Stored]:
        with self._failing(prefix):
            for folder, _, names in os.walk(self._root / prefix):
                for name in names:
                    path = Path(folder) / name
                    yield Stored(str(path.relative_to(self._root)), path.stat().st_size)

    def delete(self, key: str) -> None:
        """Remove an object, and the folders that are empty without it."""
        path = self._root / key
        with self._failing(key):
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root or not _remove_if_empty(folder):
                    break

    def _write(self, key: str, data: bytes | bytearray) -> Path:
        """Write and sync the bytes under a name that no reader looks for."""
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    def _sync_folders(self, key: str) -> None:
        folder = (self._root / key).parent
        while True:
            _sync_folder(folder)
            if folder == self._root:
                return
            folder = folder.parent

    @contextlib.contextmanager
    def _failing(self, key: str) -> Iterator[None]:
        try:
            yield
        except StoreFailed:
            raise
        except FileNotFoundError as problem:
            raise ObjectMissing(f"there is no {self._root / key}") from problem
        except OSError as problem:
            raise StoreFailed(f"{self._root / key}: {problem}") from problem


def _remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
