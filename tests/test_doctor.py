from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from scipy.stats import multivariate_normal

from embcompat.doctor import DoctorReport, SpaceReference, examine, fit_reference
from embcompat.doctor.foreign import separation
from embcompat.doctor.gallery import BLOCK_ROWS
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import FileFormatError, InputError
from embcompat.files.vectors import SPACE_KEY
from embcompat.spaces import SpaceVersion

DIM = 16


def space(name: str, *, normalized: bool = False, dim: int = DIM, **fingerprint: str) -> SpaceVersion:
    return SpaceVersion(name=name, version="1", dim=dim, normalized=normalized, fingerprint=dict(fingerprint))


def draw(name: str, count: int, *, seed: int, normalized: bool = False) -> np.ndarray:
    """Draw vectors of a space that is a Gaussian with a mean and covariance of its own."""
    shape = np.random.default_rng(sum(map(ord, name)))
    mixing = shape.standard_normal((DIM, DIM)) * np.geomspace(1, 0.05, DIM)
    vectors = shape.standard_normal(DIM) + np.random.default_rng(seed).standard_normal((count, DIM)) @ mixing.T
    return np.asarray(normalize_rows(vectors) if normalized else vectors, dtype=np.float32)


def embeddings(name: str, count: int, *, seed: int = 0, normalized: bool = False) -> Embeddings:
    vectors = draw(name, count, seed=seed, normalized=normalized)
    return Embeddings(vectors, [f"{name}-{row}" for row in range(count)], space(name, normalized=normalized))


@pytest.fixture(scope="module")
def references() -> list[SpaceReference]:
    return [fit_reference(embeddings(name, 3_000, normalized=True)) for name in ("alpha", "beta")]


def mixed(own: str, other: str, count: int, foreign: int, *, seed: int = 7) -> tuple[Embeddings, np.ndarray]:
    gallery = embeddings(own, count, seed=seed, normalized=True)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:foreign])
    vectors = gallery.vectors.copy()
    vectors[rows] = draw(other, count, seed=seed, normalized=True)[rows]
    return Embeddings(vectors, gallery.ids, gallery.space), rows


def rows_of(report: DoctorReport, kind: str) -> list[int]:
    finding = report.finding(kind)
    return [] if finding is None else finding.rows.tolist()


# --- references


def test_distances_are_mahalanobis_distances(references: list[SpaceReference]) -> None:
    reference = references[0]
    rows = draw("alpha", 20, seed=3, normalized=True)
    share = DIM / (DIM + reference.count)
    shrunk = (1 - share) * reference.covariance + share * np.trace(reference.covariance) / DIM * np.eye(DIM)
    inverse = np.linalg.inv(shrunk)
    expected = [mahalanobis(row, reference.mean, inverse) ** 2 for row in rows]
    assert np.allclose(reference.distances(rows), expected, rtol=1e-3)
    density = multivariate_normal(reference.mean, shrunk).logpdf(rows)
    assert np.allclose(-2 * density - DIM * np.log(2 * np.pi), reference.deviances(rows), rtol=1e-3, atol=1e-2)


def test_mean_and_covariance_are_those_of_the_rows_not_in_the_sketch() -> None:
    given_rows = embeddings("alpha", 1_000)
    reference = fit_reference(given_rows, sketch_rows=100)
    assert reference.sketch.shape == (100, DIM)
    sketched = {row.tobytes() for row in reference.sketch}
    rest = np.array([row for row in given_rows.vectors if row.tobytes() not in sketched], dtype=np.float64)
    assert (len(rest), reference.count) == (900, 900)
    assert np.allclose(reference.mean, rest.mean(axis=0))
    assert np.allclose(reference.covariance, np.cov(rest.T), rtol=1e-4)
    bare = fit_reference(given_rows, sketch_rows=0)
    assert (bare.count, len(bare.sketch)) == (1_000, 0)


def test_whole_subjects_are_set_aside() -> None:
    plain = embeddings("alpha", 1_000)
    labels = ["crowd"] * 500 + [f"subject-{row // 5}" for row in range(500)]
    labelled = Embeddings(plain.vectors, plain.ids, plain.space, labels)
    reference = fit_reference(labelled, sketch_rows=100)
    row_of = {row.tobytes(): number for number, row in enumerate(plain.vectors)}
    held_out = {labels[row_of[row.tobytes()]] for row in reference.sketch}
    assert len(reference.sketch) == 100
    assert len(held_out) == 20


def test_references_survive_bytes_and_files(references: list[SpaceReference], tmp_path: Path) -> None:
    references[0].save(tmp_path / "alpha.safetensors")
    again = SpaceReference.load(tmp_path / "alpha.safetensors")
    assert (again.space, again.count) == (references[0].space, references[0].count)
    rows = draw("alpha", 50, seed=3, normalized=True)
    assert np.allclose(again.deviances(rows), references[0].deviances(rows), rtol=1e-3)
    assert np.array_equal(again.sketch, references[0].sketch)


def test_what_is_no_reference_is_refused(references: list[SpaceReference], tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    with pytest.raises(FileFormatError, match="cannot be read"):
        SpaceReference.load(tmp_path / "missing")
    with pytest.raises(FileFormatError, match="is not the reference of a space"):
        SpaceReference.from_bytes(b"nonsense")
    good = load(references[0].to_bytes())
    for name, bad in {
        "mean": np.full(DIM, np.nan),
        "covariance": np.zeros((DIM, DIM + 1), np.float32),
        "sketch": np.zeros((3, 2), np.float32),
        "count": np.array([0]),
    }.items():
        with pytest.raises(FileFormatError, match="must hold finite arrays"):
            SpaceReference.from_bytes(save({**good, name: bad}))
    with pytest.raises(FileFormatError, match="positive definite"):
        SpaceReference.from_bytes(save({**good, "covariance": -np.eye(DIM, dtype=np.float32)}))
    with pytest.raises(FileFormatError, match="is not the reference of a space"):
        SpaceReference.from_bytes(save({**good, "space": np.frombuffer(b"{}", dtype=np.uint8)}))


def test_too_little_to_fit_a_reference_on() -> None:
    with pytest.raises(InputError, match="more vectors than dimensions"):
        fit_reference(embeddings("alpha", DIM))
    with pytest.raises(InputError, match="must differ"):
        fit_reference(Embeddings(np.ones((40, DIM)), [str(row) for row in range(40)], space("alpha")))
    with pytest.raises(InputError, match="sketch_rows"):
        fit_reference(embeddings("alpha", 100), sketch_rows=-1)


# --- rows of another space


def test_one_percent_of_another_space_is_found(references: list[SpaceReference]) -> None:
    gallery, foreign = mixed("alpha", "beta", 4_000, 40)
    report = examine(gallery, references)
    assert report.sick
    assert set(foreign.tolist()) <= set(rows_of(report, "other_space"))
    assert len(rows_of(report, "other_space")) <= 40 + 0.01 * 4_000
    named = report.finding("other_space")
    assert named is not None
    assert "fit space beta@1 better than alpha@1" in named.message
    assert named.examples == tuple(gallery.ids[named.rows[:10]])
    assert [(each.other, each.can_tell) for each in report.separations] == [("beta@1", True), (None, True)]


def test_a_clean_gallery_is_healthy(references: list[SpaceReference]) -> None:
    report = examine(embeddings("alpha", 4_000, seed=7, normalized=True), references)
    assert not report.sick
    assert len(rows_of(report, "other_space")) <= 40
    assert report.notes == ()


def test_a_space_without_a_reference_is_found_by_distance(references: list[SpaceReference]) -> None:
    gallery, foreign = mixed("alpha", "gamma", 4_000, 80)
    report = examine(gallery, references[:1])
    finding = report.finding("unlike_reference")
    assert finding is not None
    assert finding.severity == "error"
    assert np.isin(foreign, finding.rows).mean() >= 0.95
    assert len(np.setdiff1d(finding.rows, foreign)) <= 40


def test_spaces_that_are_nearly_the_same_cannot_be_told(references: list[SpaceReference]) -> None:
    vectors = draw("alpha", 3_000, seed=0, normalized=True)
    nearly = normalize_rows(vectors + 0.001 * np.random.default_rng(1).standard_normal(vectors.shape))
    other = fit_reference(Embeddings(nearly, [str(row) for row in range(3_000)], space("nearly", normalized=True)))
    apart = separation(references[0], other)
    assert not apart.can_tell
    assert apart.recall is not None
    assert apart.recall < 0.5
    report = examine(embeddings("alpha", 2_000, seed=7, normalized=True), [references[0], other])
    assert not report.sick
    assert any("rows of nearly@1 are among those of alpha@1 cannot be told reliably" in note for note in report.notes)


def test_without_a_sketch_nothing_is_promised() -> None:
    bare = [fit_reference(embeddings(name, 3_000, normalized=True), sketch_rows=0) for name in ("alpha", "beta")]
    gallery, foreign = mixed("alpha", "beta", 4_000, 200)
    report = examine(gallery, bare)
    assert set(foreign.tolist()) <= set(rows_of(report, "other_space"))
    assert (report.separations[0].recall, report.separations[0].can_tell) == (None, False)
    assert any("the sketch of a reference is too small" in note for note in report.notes)


def test_a_gallery_of_another_space_altogether(references: list[SpaceReference]) -> None:
    vectors = draw("beta", 500, seed=5, normalized=True)
    wrong = Embeddings(vectors, [str(row) for row in range(500)], space("alpha", normalized=True))
    report = examine(wrong, references)
    finding = report.finding("other_space")
    assert finding is not None
    assert "is this a gallery of beta@1?" in finding.message
    unknown = examine(wrong, references[:1])
    assert unknown.sick
    assert "as a whole" in unknown.findings[0].message


def test_a_gallery_without_a_space_is_judged_by_what_fits(references: list[SpaceReference], tmp_path: Path) -> None:
    gallery, foreign = mixed("beta", "alpha", 2_000, 20)
    np.save(tmp_path / "gallery.npy", gallery.vectors)
    report = examine(tmp_path / "gallery.npy", references)
    assert report.space == "beta@1"
    assert set(foreign.tolist()) <= set(rows_of(report, "other_space"))
    assert "most of its rows fit beta@1 best" in report.notes[0]


def test_a_space_that_changed_under_its_name_is_an_error(references: list[SpaceReference]) -> None:
    plain = embeddings("alpha", 500, seed=7, normalized=True)
    changed = Embeddings(plain.vectors, plain.ids, space("alpha", normalized=True, prompt="query: "))
    report = examine(changed, references)
    assert report.sick
    assert "gallery != registered: fingerprint.prompt: 'query: ' != None" in report.findings[0].message
    stated = examine(plain, [], space=space("beta", normalized=True))
    assert stated.findings[0].kind == "space_changed"
    assert "not in beta@1: name: 'alpha' != 'beta'" in stated.findings[0].message


def test_what_hinders_is_said(references: list[SpaceReference], tmp_path: Path) -> None:
    gallery = embeddings("gamma", 50, normalized=True)
    assert "no reference was given" in examine(gallery).notes[0]
    assert "there is no reference of gamma@1" in examine(gallery, references).notes[0]
    np.save(tmp_path / "other.npy", np.ones((3, 5), np.float32))
    assert "no reference has the gallery's 5 dimensions" in examine(tmp_path / "other.npy", references).notes[0]


# --- rows that are wrong by themselves


def write(path: Path, columns: dict[str, Any], where: SpaceVersion | None = None) -> Path:
    metadata = None if where is None else {SPACE_KEY: where.to_json().encode()}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


@pytest.fixture(params=["list", "large_list"])
def sick(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Sixteen unit vectors, eight of them spoiled."""
    rows: list[Any] = normalize_rows(np.random.default_rng(0).standard_normal((16, 4))).tolist()
    rows[2] = None
    rows[3] = [1.0, 0.0, 0.0]
    rows[4][1] = float("nan")
    rows[5][0] = None
    rows[6] = [0.0, 0.0, 0.0, 0.0]
    rows[7] = [3.0, 0.0, 0.0, 0.0]
    rows[9] = rows[8]
    rows[10] = []
    ids: list[str | None] = [f"item-{row}" for row in range(16)]
    ids[12], ids[13], ids[14] = "item-11", None, ""
    vectors = pa.array(rows, getattr(pa, f"{request.param}_")(pa.float32()) if request.param == "list" else None)
    if request.param == "large_list":
        vectors = pa.array(rows, pa.large_list(pa.float64()))
    return write(
        tmp_path / "sick.parquet", {"id": pa.array(ids), "vector": vectors}, space("a", dim=4, normalized=True)
    )


def test_every_spoiled_row_is_named(sick: Path) -> None:
    report = examine(sick)
    found = {finding.kind: finding.rows.tolist() for finding in report.findings}
    assert found == {
        "missing_vector": [2],
        "dimension": [3, 10],
        "not_finite": [4, 5],
        "zero": [6],
        "not_unit_norm": [7],
        "duplicate_vector": [9],
        "missing_id": [13, 14],
        "duplicate_id": [12],
    }
    assert report.sick
    assert (report.rows, report.space) == (16, "a@1")
    assert report.findings[-1].severity == "warning"
    drift = report.finding("dimension")
    assert drift is not None
    assert drift.message == "2 of 16 rows have another length (0, 3) than 4."
    assert drift.examples == ("item-3", "item-10")
    assert "found 3 to 3" in str(report.finding("not_unit_norm").message)  # type: ignore[union-attr]
    again = report.to_dict()
    assert again["sick"]
    zero = next(finding for finding in again["findings"] if finding["kind"] == "zero")
    assert (zero["severity"], zero["rows"], zero["examples"]) == ("error", 1, ["item-6"])


def test_fixed_size_lists_with_gaps(tmp_path: Path) -> None:
    rows = [[1.0, 0.0], None, [0.0, 1.0], None]
    column = pa.array(rows, pa.list_(pa.float32(), 2))
    path = write(tmp_path / "a.parquet", {"vector": column.slice(1)})
    report = examine(path)
    assert {finding.kind: finding.rows.tolist() for finding in report.findings} == {"missing_vector": [0, 2]}
    assert report.findings[0].examples == ("0", "2")


def test_a_space_of_another_dimension_than_the_file(tmp_path: Path) -> None:
    column = pa.array([[1.0, 0.0]] * 3, pa.list_(pa.float32(), 2))
    path = write(tmp_path / "a.parquet", {"id": ["a", "b", "c"], "vector": column}, space("a"))
    assert rows_of(examine(path), "dimension") == [0, 1, 2]
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    assert rows_of(examine(tmp_path / "a.npy", space=space("a")), "dimension") == [0, 1, 2]


def test_zeros_matter_where_directions_are_compared(tmp_path: Path) -> None:
    vectors = np.zeros((2, 3), np.float32)
    np.save(tmp_path / "a.npy", vectors)
    euclidean = SpaceVersion(name="a", version="1", dim=3, similarity="euclidean")
    assert not examine(tmp_path / "a.npy", space=euclidean).sick
    assert examine(tmp_path / "a.npy").sick


def test_norms_of_a_gallery_without_a_space(tmp_path: Path) -> None:
    vectors = normalize_rows(np.random.default_rng(0).standard_normal((50, 8)))
    vectors[7] *= 2
    np.save(tmp_path / "a.npy", vectors)
    report = examine(tmp_path / "a.npy")
    assert rows_of(report, "not_unit_norm") == [7]
    assert "most rows have unit norm" in report.findings[0].message
    np.save(tmp_path / "b.npy", np.random.default_rng(0).standard_normal((50, 8)))
    assert examine(tmp_path / "b.npy").findings == ()


def test_no_rows_and_one_row(references: list[SpaceReference], tmp_path: Path) -> None:
    where = space("alpha", normalized=True)
    empty = examine(Embeddings(np.empty((0, DIM), np.float32), [], where), references)
    assert (empty.rows, empty.findings, empty.sick) == (0, (), False)
    one = examine(Embeddings(draw("alpha", 1, seed=3, normalized=True), ["a"], where), references)
    assert (one.rows, one.sick) == (1, False)
    nothing = pa.array([], pa.list_(pa.float32()))
    with pytest.raises(FileFormatError, match="at least one vector"):
        examine(write(tmp_path / "empty.parquet", {"id": pa.array([], pa.string()), "vector": nothing}))


def test_blocks_make_no_difference(references: list[SpaceReference], tmp_path: Path) -> None:
    gallery, _ = mixed("alpha", "beta", BLOCK_ROWS + 100, 50)
    vectors = gallery.vectors.copy()
    vectors[BLOCK_ROWS + 5] = vectors[3]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    path = tmp_path / "gallery.parquet"
    table = pa.table({"id": gallery.ids.tolist(), "vector": column})
    table = table.replace_schema_metadata({SPACE_KEY: gallery.space.to_json().encode()})
    pq.write_table(table, path, row_group_size=1_000)
    streamed = examine(path, references)
    whole = examine(Embeddings(vectors, gallery.ids, gallery.space), references)
    assert streamed.to_dict() == whole.to_dict()
    assert rows_of(streamed, "duplicate_vector") == [BLOCK_ROWS + 5]
    assert streamed.finding("duplicate_vector").examples == (f"alpha-{BLOCK_ROWS + 5}",)  # type: ignore[union-attr]


def test_integer_ids_are_ids(tmp_path: Path) -> None:
    column = pa.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], pa.list_(pa.float32(), 2))
    path = write(tmp_path / "a.parquet", {"id": pa.array([7, 8, 7]), "vector": column})
    finding = examine(path).finding("duplicate_id")
    assert finding is not None
    assert finding.rows.tolist() == [2]
    assert finding.examples == ("7",)


def test_files_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="does not exist"):
        examine(tmp_path / "missing.parquet")
    with pytest.raises(FileFormatError, match="must have a column of vectors.*Got id"):
        examine(write(tmp_path / "a.parquet", {"id": ["a"]}))
    with pytest.raises(FileFormatError, match="must hold numbers. Row 0 is"):
        examine(write(tmp_path / "b.parquet", {"id": ["a"], "vector": ["x"]}))
    np.save(tmp_path / "c.npy", np.arange(3))
    with pytest.raises(FileFormatError, match="floats of shape"):
        examine(tmp_path / "c.npy")
    good = write(tmp_path / "d.parquet", {"id": ["a"] * 1_000, "vector": [[0.5, 0.5]] * 1_000})
    data = good.read_bytes()
    good.write_bytes(data[:4] + bytes(196) + data[200:])
    with pytest.raises(FileFormatError, match=r"d.parquet is (damaged|not a complete)"):
        examine(good, space=space("a", dim=2))


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=0, max_size=5),
            st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3),
        ),
        max_size=30,
    ),
    st.data(),
)
@settings(max_examples=30, deadline=None)
def test_no_gallery_is_too_sick_to_examine(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], data: st.DataObject
) -> None:
    ids = data.draw(
        st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=len(rows), max_size=len(rows)), label="ids"
    )
    column = pa.array(rows, pa.list_(pa.float32()))
    path = write(
        tmp_path_factory.mktemp("sick") / "a.parquet",
        {"id": pa.array(ids, pa.string()), "vector": column},
        space("a", dim=3, normalized=True),
    )
    reference = fit_reference(
        Embeddings(
            normalize_rows(np.random.default_rng(0).standard_normal((400, 3))),
            [str(row) for row in range(400)],
            space("a", dim=3, normalized=True),
        )
    )
    report = examine(path, [reference])
    assert report.rows == len(rows)
    broken = [
        row
        for row, value in enumerate(rows)
        if value is None
        or len(value) != 3
        or None in value
        or not np.isfinite(np.float32(value)).all()
        or not any(value)
    ]
    kinds = ("missing_vector", "dimension", "not_finite", "zero")
    named = sorted(row for kind in kinds for row in rows_of(report, kind))
    assert named == [row for row in broken if row in named]
    assert set(broken) == set(named)


# --- real spaces


@pytest.mark.parametrize(("own", "other"), [("minilm", "para_l3"), ("para_l3", "minilm")])
@pytest.mark.parametrize(("fitted_on", "examined"), [("npl", "cranfield"), ("cranfield", "npl")])
def test_one_percent_of_another_text_model(
    shared_data: Path, own: str, other: str, fitted_on: str, examined: str
) -> None:
    def load(name: str, model: str) -> np.ndarray:
        return np.load(shared_data / "text" / f"{name}_{model}_docs.npy")[:2_500]

    def named(model: str) -> SpaceVersion:
        return SpaceVersion(name=model.replace("_", "-"), version="1", dim=384, normalized=True, modality="text")

    references = []
    for model in (own, other):
        vectors = load(fitted_on, model)
        references.append(fit_reference(Embeddings(vectors, [str(row) for row in range(len(vectors))], named(model))))
    vectors = load(examined, own).copy()
    foreign = np.random.default_rng(0).permutation(len(vectors))[: round(0.01 * len(vectors))]
    clean = examine(Embeddings(vectors, [str(row) for row in range(len(vectors))], named(own)), references)
    assert not clean.sick
    vectors[foreign] = load(examined, other)[foreign]
    report = examine(Embeddings(vectors, [str(row) for row in range(len(vectors))], named(own)), references)
    found = np.array(rows_of(report, "other_space"))
    assert report.sick
    assert report.separations[0].can_tell
    assert np.isin(foreign, found).mean() >= 0.95
    assert len(np.setdiff1d(found, foreign)) <= 0.01 * len(vectors)


def test_two_face_models_that_cannot_be_told_apart_well_enough(shared_data: Path) -> None:
    labels = np.load(shared_data / "faces" / "lfw_labels.npz")
    seen, people = np.flatnonzero(labels["detected"]), labels["ids"]
    references = []
    for model in ("mfn_a", "mfn_b"):
        vectors = np.load(shared_data / "faces" / f"lfw_{model}_128.npy")[seen]
        where = SpaceVersion(name=model.replace("_", "-"), version="1", dim=128, normalized=True)
        ids, subjects = [str(row) for row in seen], [str(person) for person in people[seen]]
        references.append(fit_reference(Embeddings(normalize_rows(vectors), ids, where, subjects)))
    apart = separation(*references)
    assert apart.recall is not None
    assert 0.5 < apart.recall < 0.98
    assert apart.false_alarms is not None
    assert apart.false_alarms <= 0.01
