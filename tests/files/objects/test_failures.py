from __future__ import annotations

from pathlib import Path

import pytest

from embcompat.errors import InputError, StoreError
from embcompat.files.objects import location, object_error

# as pyarrow 26 words them
ANSWERS = {
    "AWS Error ACCESS_DENIED during HeadObject operation: No response body.": "s3:GetObject and s3:ListBucket",
    "AWS Error INVALID_ACCESS_KEY_ID during PutObject operation: unknown": "credentials are not valid",
    "AWS Error EXPIRED_TOKEN during HeadObject operation: gone": "Renew them",
    "AWS Error UNKNOWN (HTTP status 301) during HeadObject operation: No response body.": "Set AWS_REGION",
    "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7": "Check the network and AWS_ENDPOINT_URL",
    "AWS Error SLOW_DOWN during PutObject operation: Reduce your rate": "Reduce your rate",
}


@pytest.mark.parametrize(("answer", "advice"), ANSWERS.items())
def test_an_answer_says_what_to_do(answer: str, advice: str) -> None:
    error = object_error(location("s3://bucket/a"), OSError(f"When reading: {answer} (Request ID: abc)"), "write")
    assert isinstance(error, StoreError)
    assert str(error).startswith("cannot write s3://bucket/a: When reading: AWS Error")
    assert advice in str(error)
    assert "Request ID" not in str(error)


def test_requests_without_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    denied = OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body.")
    assert "AWS_ACCESS_KEY_ID is not set" in str(object_error(location("s3://bucket/a"), denied))


def test_other_errors_are_not_of_the_store() -> None:
    missing = OSError("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation: no")
    assert isinstance(object_error(location("s3://bucket/a"), missing), InputError)
    assert object_error(location("s3://bucket/a"), OSError("Couldn't deserialize thrift")) is None
    assert object_error(Path("a"), missing) is None
