"""Refusals of object stores, as errors that name a remedy."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embcompat.errors import EmbcompatError, InputError, StoreError

if TYPE_CHECKING:
    from embcompat.files.objects.paths import ObjectPath

_GOOGLE: Final = ("STORAGE_EMULATOR_HOST",)
ENDPOINTS: Final = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": _GOOGLE, "gcs": _GOOGLE}
"""Environment variables that name a service other than the cloud's own; the first one that is set counts."""

_FAILURE: Final = re.compile(r"AWS Error (\w+(?: \(HTTP status \d+\))?)|google::cloud::Status\((\w+)|Azure Error")
_REQUEST: Final = re.compile(r"\s*\(Request ID: [^)]*\)")
_BAD_KEYS: Final = ("INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "SIGNATURE_DOES_NOT_MATCH", "UNAUTHENTICATED")
_EXPIRED: Final = ("EXPIRED_TOKEN", "REQUEST_EXPIRED", "REQUEST_TIME_TOO_SKEWED")
_ELSEWHERE: Final = ("301", "307", "400", "PERMANENT_REDIRECT", "AUTHORIZATION_HEADER_MALFORMED")


def object_error(path: Path | ObjectPath, error: Exception, verb: str = "read") -> EmbcompatError | None:
    """Return an error of an object store as ours; None if something else is wrong, for instance with the file."""
    failure = _FAILURE.search(str(error))
    if isinstance(path, Path) or failure is None:
        return None
    code = failure[1] or failure[2] or ""
    reason = f"cannot {verb} {path}: {first_line(error)}"
    if code == "NO_SUCH_BUCKET":
        return InputError(f"there is no bucket {path.bucket!r}. {path} can neither be read nor written.")
    if code in ("ACCESS_DENIED", "PERMISSION_DENIED"):
        return StoreError(f"{reason}\n{_permission(path)}")
    if code in _BAD_KEYS:
        return StoreError(f"{reason}\nThe credentials are not valid. Check those in the environment.")
    if code in _EXPIRED:
        return StoreError(f"{reason}\nThe credentials have expired, or the clock is wrong. Renew them.")
    if any(sign in code for sign in _ELSEWHERE):
        return StoreError(f"{reason}\nThe bucket may be in another region. Set AWS_REGION to the region of the bucket.")
    if "OAuth2 access token" in str(error):
        return StoreError(f"{reason}\nThere are no credentials. Set GOOGLE_APPLICATION_CREDENTIALS to a key file.")
    if code in ("NETWORK_CONNECTION", "UNAVAILABLE"):
        return StoreError(f"{reason}\nCheck the network{' and ' + ENDPOINTS['s3'][1] if path.scheme == 's3' else ''}.")
    return StoreError(reason)


def _permission(path: ObjectPath) -> str:
    if path.scheme != "s3":
        return "The credentials in the environment do not permit this."
    text = (
        "Reading needs the permissions s3:GetObject and s3:ListBucket, writing s3:PutObject. Without s3:ListBucket, a "
        "missing object causes the same error."
    )
    return text if "AWS_ACCESS_KEY_ID" in os.environ else f"{text} AWS_ACCESS_KEY_ID is not set in the environment."


def first_line(error: Exception) -> str:
    """Return the first line of an error, without the id of the request."""
    return _REQUEST.sub("", str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
