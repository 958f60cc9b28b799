"""Every error embcompat raises on purpose.

::

    EmbcompatError
    ├── InputError (ValueError)          what you passed cannot be used; the message says what to pass instead
    │   ├── SpaceMismatchError           vectors of one space met something that expects another
    │   ├── FileFormatError              a file does not hold what it should; names file, column and first bad row
    │   └── UnknownNameError             a name that is not known; lists the known ones
    ├── MissingExtraError (ImportError)  an optional package is not installed; names the pip line
    ├── ExtractionError                  a model could not embed an item; names the item
    ├── ServiceError                     a service of models is down, refuses or is at a limit; no item is to blame
    ├── ArtifactError                    an artifact is damaged, of another schema, or refused
    ├── ParityError                      an exported graph does not compute what its aligner computes
    ├── RegistryError                    the registry cannot do what was asked
    │   └── RegistryConflictError        the name is taken by other content; shows the difference
    ├── StoreError                       a gallery store cannot do what was asked
    ├── MigrationError                   a migration cannot go on; the source gallery is untouched
    └── GateError                        a quality gate is not met

The command line turns ``InputError`` and ``MissingExtraError`` into exit code 2, ``GateError`` into 3 and every
other error into 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from embcompat.redaction import redact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbcompatError(Exception):
    """Base class of every error that embcompat raises on purpose. Its text never holds a secret of an address."""

    def __init__(self, *values: object) -> None:
        super().__init__(*(redact(value) if isinstance(value, str) else value for value in values))


class InputError(EmbcompatError, ValueError):
    """An argument, option or file cannot be used."""


class SpaceMismatchError(InputError):
    """Vectors of one space met something that expects another space."""


class FileFormatError(InputError):
    """A file does not hold what it should."""


class UnknownNameError(InputError):
    """A name is not among the known ones.

    Args:
        what: What the name should be the name of, in the singular ("extractor").
        name: The name that was given.
        known: The names that exist.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.what, self.name, self.known = what, name, tuple(sorted(known))
        listed = ", ".join(self.known) if self.known else "none"
        super().__init__(f"There is no {what} called {name!r}. Known: {listed}.")


class MissingExtraError(EmbcompatError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: The package that could not be imported.
        extra: What to install, as pip takes it ("embcompat[train]").
        purpose: What needs it, as the start of a sentence ("Training a neural aligner").
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. Install it with: pip install '{extra}'"
        )


class ExtractionError(EmbcompatError):
    """A model could not embed an item."""


class ServiceError(EmbcompatError):
    """A service that computes vectors is down, refuses, or is at a limit: no item is to blame.

    Args:
        message: What happened, and what to do.
        vectors: Vectors (m, dim) of the first m items of the call, which are computed and paid for already; None for
            none. `extract_embeddings` keeps them.
    """

    def __init__(self, message: str, vectors: NDArray[np.float32] | None = None) -> None:
        super().__init__(message)
        self.vectors = vectors


class ArtifactError(EmbcompatError):
    """An artifact is damaged, written by another schema version, or refused."""


class ParityError(EmbcompatError):
    """An exported graph does not compute what its aligner computes."""


class RegistryError(EmbcompatError):
    """The registry cannot do what was asked."""


class RegistryConflictError(RegistryError):
    """A name in the registry is taken by other content."""


class StoreError(EmbcompatError):
    """A gallery store cannot do what was asked."""


class MigrationError(EmbcompatError):
    """A migration cannot go on. The source gallery is untouched."""


class GateError(EmbcompatError):
    """A quality gate is not met."""
