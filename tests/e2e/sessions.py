"""One way to ask for two clients: `fauna_client` and the official driver.

What matters to a history is what an answer lets us know: a value, a refusal by the language, that
nothing was applied, or nothing at all.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

import httpx
from fauna import fql as driver_fql
from fauna.client import Client as Driver
from fauna.encoding import QuerySuccess
from fauna.errors import (
    ContendedTransactionError,
    FaunaException,
    QueryTimeoutError,
    ServiceError,
    ThrottlingError,
)
from fauna.http.httpx_client import HTTPXClient

import fauna_client

QUERY_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 60.0


class Refused(Exception):
    """The language said no, with a code; nothing was applied."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotApplied(Exception):
    """It surely had no effect."""


class Unknown(Exception):
    """Nobody knows."""


class Session(Protocol):
    def run(self, text: str, **values: Any) -> tuple[Any, int]:
        """Return value and transaction time of a query with `${holes}`; raises the three above."""
        ...

    def close(self) -> None: ...


class ClientSession:
    """`fauna_client`, which finds the members and fails over by itself."""

    def __init__(self, endpoints: Sequence[str], secret: str) -> None:
        self._client = fauna_client.Client(
            endpoints=endpoints,
            secret=secret,
            connect_timeout=CONNECT_TIMEOUT_S,
            query_timeout=QUERY_TIMEOUT_S,
        )
        self._client.connect_timeout = 2.0

    def run(self, text: str, **values: Any) -> tuple[Any, int]:
        try:
            result = self._client.run(fauna_client.fql(text, **values))
        except fauna_client.QueryError as error:
            if not error.certain:
                raise Unknown(str(error)) from error
            if error.status == 400:
                raise Refused(error.code) from error
            raise NotApplied(str(error)) from error
        except fauna_client.Unavailable as error:
            raise NotApplied(str(error)) from error
        except fauna_client.OutcomeUnknown as error:
            raise Unknown(str(error)) from error
        if not result.certain:
            raise Unknown("an earlier attempt may still be applied")
        return result.value, result.txn_ts

    def close(self) -> None:
        self._client.close()


class DriverSession:
    """The official driver on one endpoint after the other, as an application would do it."""

    def __init__(self, endpoints: Sequence[str], secret: str, first: int = 0) -> None:
        timeout = httpx.Timeout(QUERY_TIMEOUT_S + 1, connect=2.0)
        self._https = [httpx.Client(timeout=timeout, trust_env=False) for _ in endpoints]
        self._drivers = [
            Driver(
                endpoint=endpoint,
                secret=secret,
                http_client=HTTPXClient(http),
                query_timeout=timedelta(seconds=QUERY_TIMEOUT_S),
                max_attempts=1,
            )
            for endpoint, http in zip(endpoints, self._https, strict=True)
        ]
        self._turn = first

    def run(self, text: str, **values: Any) -> tuple[Any, int]:
        driver = self._drivers[self._turn % len(self._drivers)]
        try:
            answer: QuerySuccess = driver.query(driver_fql(text, **values))
        except (ThrottlingError, ContendedTransactionError, QueryTimeoutError) as error:
            self._turn += 1
            late = error.status_code == 503  # the driver has one error for 440 and 503
            raise (Unknown if late else NotApplied)(str(error)) from error
        except ServiceError as error:
            if error.status_code == 400:
                raise Refused(error.code) from error
            self._turn += 1
            raise Unknown(str(error)) from error
        except (FaunaException, httpx.HTTPError, ValueError) as error:
            self._turn += 1
            raise (NotApplied if _never_left(error) else Unknown)(str(error)) from error
        return answer.data, answer.txn_ts or 0

    def close(self) -> None:
        for http in self._https:
            http.close()


def _never_left(error: BaseException) -> bool:
    """Say whether there was no connection; many such would be hard to judge as unknown ones."""
    never = httpx.ConnectError | httpx.ConnectTimeout
    return isinstance(error, never) or isinstance(error.__cause__, never)
