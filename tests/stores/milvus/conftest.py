"""Milvus's client asks twice a second whether an index is built. Here it asks a hundred times a second."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="package", autouse=True)
def _short_waits() -> Iterator[None]:
    grpc_handler = pytest.importorskip("pymilvus.client.grpc_handler")
    clock = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(min(seconds, 0.01))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc_handler, "time", clock)
        yield
