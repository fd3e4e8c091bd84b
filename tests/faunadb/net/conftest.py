"""Coroutine tests run on asyncio, by the plugin that anyio (of httpx) brings."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
