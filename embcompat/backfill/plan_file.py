"""A plan on disk: PLAN.json, and its ids in a file beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from embcompat.backfill.plan import BackfillPlan
from embcompat.errors import FileFormatError, InputError
from embcompat.files.writing.atomic import atomic_path


class PlanFile(BaseModel):
    """PLAN.json: a stored plan, beside the file of its ids.

    Attributes:
        schema_version: Version of this layout.
        artifact: Id of the artifact that converted the gallery.
        artifact_path: Path of that artifact, or of the directory with forward and backward; None if unknown.
        source: Id of the old space.
        target: Id of the new space.
        ids_file: Name of the file of ids, beside this one unless it is a path.
        ids_digest: SHA-256 of that file.
        count: Number of ids.
        order: Name of the order.
        weights: Weights of the recommended order.
        gallery_size: Items of the gallery.
        native_items: Items that were native before.
        expected: Expected retention: value, low, high.
        seconds: Time for embedding.
        money: Cost of embedding.
        target_retention: Target of the budget.
        sentence: The plan in words.
        advice: When to stop, in words.
        curve: The curve behind it, a result of kind ``backfill_curve``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    artifact: str
    artifact_path: str | None = None
    source: str
    target: str
    ids_file: str
    ids_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    count: int
    order: str
    weights: dict[str, float]
    gallery_size: int
    native_items: int
    expected: dict[str, float | None] | None
    seconds: float | None
    money: float | None
    target_retention: float | None
    sentence: str
    advice: str
    curve: dict[str, JsonValue] | None


def save_plan(
    plan: BackfillPlan,
    path: str | Path,
    ids_path: str | Path,
    *,
    artifact: str,
    source: str,
    target: str,
    artifact_path: str | Path | None = None,
    weights: Mapping[str, float] | None = None,
) -> PlanFile:
    """Write the ids, one on each line, and the plan with their digest.

    Raises:
        InputError: If an id is not a single line, or begins or ends with a blank.
    """
    where, ids_where = Path(path), Path(ids_path)
    broken = next((each for each in plan.ids if len(each.splitlines()) != 1 or each.strip() != each), None)
    if broken is not None:
        raise InputError(f"ids must be single lines without leading or trailing blanks. Got {broken!r}.")
    text = "".join(f"{identifier}\n" for identifier in plan.ids).encode()
    with atomic_path(ids_where) as temporary:
        temporary.write_bytes(text)
    beside = ids_where.resolve().parent == where.resolve().parent
    plan_file = PlanFile(
        artifact=artifact,
        artifact_path=None if artifact_path is None else str(Path(artifact_path).resolve()),
        source=source,
        target=target,
        ids_file=ids_where.name if beside else str(ids_where.resolve()),
        ids_digest=hashlib.sha256(text).hexdigest(),
        count=len(plan.ids),
        order=plan.order,
        weights=dict(weights or {}),
        gallery_size=plan.gallery_size,
        native_items=plan.native_items,
        expected=None if plan.expected is None else plan.expected.to_dict(),
        seconds=plan.seconds,
        money=plan.money,
        target_retention=plan.target_retention,
        sentence=plan.sentence,
        advice=plan.advice,
        curve=None if plan.curve is None else dict(plan.curve),
    )
    with atomic_path(where) as temporary:
        temporary.write_text(plan_file.model_dump_json(indent=2) + "\n")
    return plan_file


def read_plan(path: str | Path) -> tuple[PlanFile, list[str]]:
    """Read a plan and its ids, in their order.

    Raises:
        FileFormatError: If a file is missing, is not a plan, or the ids are not those that were planned.
    """
    where = Path(path)
    try:
        raw = json.loads(where.read_bytes())
        plan_file = PlanFile.model_validate(raw)
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the object"
        raise FileFormatError(f"{path} is not a backfill plan. {field}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is not JSON: {error}") from error
    ids_path = where.parent / plan_file.ids_file
    try:
        text = ids_path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{ids_path}, the ids of {path}, cannot be read: {error.strerror}.") from error
    if hashlib.sha256(text).hexdigest() != plan_file.ids_digest:
        raise FileFormatError(f"{ids_path} does not hold the ids that {path} planned. Make the plan again.")
    return plan_file, text.decode().splitlines()
