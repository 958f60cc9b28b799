"""The file that describes an upgrade."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from embcompat.errors import InputError

PREFIX: Final = "EMBCOMPAT_"
"""Prefix of the environment variables: ``EMBCOMPAT_GALLERY`` takes precedence over ``gallery`` in the file."""


class Upgrade(BaseModel):
    """An upgrade, as its file describes it.

    Attributes:
        gallery: Address of the gallery in use.
        text_column: Its column with the texts or paths.
        extractor: The new model, as `embcompat extractors` lists it.
        model: Path or name, for extractors that take one.
        options: Options of the extractor, ``KEY=VALUE``.
        old_space: ``name@version`` of the vectors in use, if the store does not record it.
        rows: Rows to sample for the pairs.
        qrels: Which items answer the queries.
        queries: File with the texts of the queries.
        old_extractor: The old model, which embeds the texts of the queries, too.
        old_model: Its path or name, for extractors that take one.
        old_options: Its options, ``KEY=VALUE``.
        old_queries: Queries that are embedded already, under the old model.
        new_queries: The same queries under the new model.
        items: File with titles and texts of items, if there are no judgements: each title is a query for its item.
        title_column: Its column with the titles.
        weigh_queries: Whether the queries are weighted instead of the converted rows, as your service will have to do
            (`embcompat.serving.WeightedSearch`).

    Raises:
        ValidationError: If fields do not go together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gallery: str
    text_column: str
    extractor: str
    model: str | None = None
    options: list[str] = Field(default_factory=list)
    old_space: str | None = None
    rows: int = Field(default=5_000, ge=100)
    qrels: str | None = None
    queries: str | None = None
    old_extractor: str | None = None
    old_model: str | None = None
    old_options: list[str] = Field(default_factory=list)
    old_queries: str | None = None
    new_queries: str | None = None
    items: str | None = None
    title_column: str | None = None
    weigh_queries: bool = False

    @model_validator(mode="after")
    def _judgements(self) -> Self:
        """Refuse judgements that do not go together.

        Raises:
            ValueError: If they do not.
        """
        embedded, titles = self.old_queries is not None, self.items is not None
        if embedded != (self.new_queries is not None):
            raise ValueError("old_queries and new_queries must be named together: the same queries under both models")
        if titles != (self.title_column is not None):
            raise ValueError("items and title_column must be named together: the titles are the queries")
        if embedded + titles + (self.queries is not None) > 1:
            raise ValueError("queries must come from one place: queries, items, or old_queries with new_queries")
        if (self.qrels is not None) != (embedded or self.queries is not None):
            raise ValueError("qrels and queries must be named together: qrels list the items that answer the queries")
        if (self.old_extractor is not None) != (titles or self.queries is not None):
            raise ValueError(
                "old_extractor must be named together with queries or items: the old model embeds these texts. "
                "For vectors alone, name old_space instead"
            )
        if self.old_extractor is not None and self.old_space is not None:
            raise ValueError("old_space must be left out where old_extractor is named: the old model names its space")
        return self

    def to_toml(self) -> str:
        """Return the file's text; a JSON string is also one of TOML."""
        values = {name: value for name, value in self.model_dump(exclude_none=True).items() if value not in ([], False)}
        return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def make_upgrade(values: Mapping[str, object], *, where: str) -> Upgrade:
    """Make an upgrade.

    Raises:
        InputError: If a value cannot be used; names it.
    """
    try:
        return Upgrade.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {place + ': ' if place else ''}{message}.") from error


def read_upgrade(path: Path, environment: Mapping[str, str] = os.environ) -> Upgrade:
    """Read the file that describes an upgrade; environment variables take precedence over its lines.

    Args:
        path: The file.
        environment: The variables: ``EMBCOMPAT_OLD_SPACE`` stands for ``old_space``, and so on.

    Raises:
        InputError: If it is missing, or a line or variable cannot be used; names it.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Write it with: embcompat upgrade init {path}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}.") from error
    return make_upgrade(values | environment_values(environment), where=str(path))


def environment_values(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of an upgrade that environment variables set; a list has one entry per line."""
    values: dict[str, object] = {}
    for name, field in Upgrade.model_fields.items():
        text = environment.get(PREFIX + name.upper())
        if text:
            values[name] = text.splitlines() if field.annotation == list[str] else text
    return values
