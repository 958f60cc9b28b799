"""Secrets stay out of everything that is printed or written: addresses, errors of drivers, journals, tracebacks.

There is one redactor. Addresses are taken apart by `split_secrets`, which also remembers what was secret in them, so
that `redact` finds it again in any text, however a driver has quoted it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, unquote_plus

if TYPE_CHECKING:
    from pydantic import JsonValue

HIDDEN: Final = "***"

NO_CREDENTIALS: Final = (
    "the address of an object store must not hold credentials. They come from the environment (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or those of its provider)."
)

_SECRET_WORDS: Final = "pass|pwd|secret|token|api[_-]?key|access[_-]?key|credential|signature|authorization"
_OPTION: Final = re.compile(rf"(?i)(?<=[?&;\s])([\w.-]*(?:{_SECRET_WORDS})[\w.-]*)=([^&\s]*(?=#[^#\s]*$)|[^&#\s]*)")
_USER: Final = re.compile(r"(?<=:/)(/?[^/\s:@]*):([^\s]*)@")  # a path has one slash there
_NESTED: Final = re.compile(r"lancedb://\w+://")
_SHORTEST: Final = 4  # shorter secrets are words of every message
_secrets: set[str] = set()


@dataclass(frozen=True)
class Address:
    """An address with and without its secrets.

    Attributes:
        full: The address, with user and password encoded so that every client reads them alike.
        public: The address without password, and with hidden values of secret options.
    """

    full: str
    public: str


def split_secrets(url: str) -> Address:
    """Take the secrets out of an address, and remember them for `redact`.

    The user's part ends at the last ``@``, so a password may hold any sign, encoded or not.

    Example:
        >>> split_secrets("postgresql://me:a/b@host/base?sslpassword=x#docs.v").public
        'postgresql://me@host/base?sslpassword=***#docs.v'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Address(url, url)
    if _NESTED.match(url):  # the address of an object store inside that of a table
        nested = split_secrets(rest)
        return Address(f"{scheme}://{nested.full}", f"{scheme}://{nested.public}")
    full, public = rest, rest
    user, at, host = rest.rpartition("@")
    name, colon, password = user.partition(":")
    if at and colon and not rest.startswith("/") and not _is_port(password):
        full = f"{_encoded(name)}:{_encoded(password)}@{host}"
        public = f"{_encoded(name)}@{host}"
        remember_secret(password)
    for match in _OPTION.finditer(public):
        remember_secret(match[2])
    return Address(f"{scheme}://{full}", f"{scheme}://{_hide_options(public)}")


def redact(text: str) -> str:
    """Return a text without the secrets of the addresses in it, and without every secret that was met before.

    Example:
        >>> redact("no route to https://me:hunter2@host/?api_key=abc")
        'no route to https://me@host/?api_key=***'
    """
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _hide_options(_USER.sub(_hide_password, text))


def remember_secret(secret: str) -> None:
    """Have `redact` find a secret, for instance an API key, however it is quoted."""
    forms = {secret, unquote(secret), unquote_plus(secret), _encoded(secret), repr(unquote(secret))[1:-1]}
    _secrets.update(form for form in forms if len(form) >= _SHORTEST)


def redact_values(value: JsonValue) -> JsonValue:
    """Return a JSON value whose texts are redacted; its names stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redact_values(item) for item in value]
    if isinstance(value, dict):
        return {name: redact_values(item) for name, item in value.items()}
    return value


def _is_port(text: str) -> bool:
    """Return whether what follows a colon is a port, and the @ after it is in a name behind the #."""
    return "#" in text and re.split("[/?#]", text)[0].isdecimal()


def _hide_password(match: re.Match[str]) -> str:
    return match[0] if _is_port(match[2]) else f"{match[1]}@"


def _hide_options(text: str) -> str:
    return _OPTION.sub(rf"\1={HIDDEN}", text)


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="")
