"""The face recipes run, small and without data; the simulated life-cycle is what it says it is."""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FACE, EXPECTED = ROOT / "recipes" / "face", ROOT / "recipes" / "expected"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a recipe as it is imported when it runs as a script: its folder comes first."""
    monkeypatch.syspath_prepend(str(FACE))
    return importlib.import_module


def smoke(recipe: ModuleType, output: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    recipe.main(["--smoke", "--output", str(output)])
    printed = capsys.readouterr().out
    assert "smoke: tiny sizes, these are no figures to quote" in printed
    name = recipe.__name__
    assert not (output / f"{name}.json").exists(), "a smoke run never writes where figures are"
    result = json.loads((output / f"{name}.smoke.json").read_text())
    assert result["recipe"] == name
    assert result["smoke"] is True
    return result, printed


class TestLifeCycle:
    def test_smoke(self, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result, printed = smoke(load("life_cycle"), tmp_path, capsys)
        assert list(result["versions"]) == ["11", "16", "27", "46.4"]
        assert "30,775" not in printed, "not beside the paper's figures"

    def test_scenario_1_is_near_table_1(self, load: Any) -> None:
        life_cycle, table = load("life_cycle"), load("paper").SCENARIO_1
        faces = life_cycle.simulate(list(table), 4_000, part="test", seed=1)
        for name, paper in table.items():
            result = life_cycle.scenario_1(faces[name], frr=paper.frr)
            assert result["frr"] == pytest.approx(paper.frr, abs=1 / 4_000)
            assert result["mean_genuine"] == pytest.approx(paper.mean_genuine, rel=0.02)
            assert result["mean_impostor"] == pytest.approx(paper.mean_impostor, rel=0.02)
            # 4,000 subjects leave some 600 false accepts, and a threshold that 200 genuine pairs decide.
            assert 1 / 1.4 < result["far"] * paper.one_in < 1.4, name

    def test_what_is_recorded_agrees_within_a_tenth(self) -> None:
        result = json.loads((EXPECTED / "life_cycle.json").read_text())
        assert result["smoke"] is False
        assert result["test_subjects"] == 14_848
        for version in result["versions"].values():
            assert version["simulated_to_paper"] == {
                key: pytest.approx(1, abs=0.1) for key in ("mean_genuine", "mean_impostor", "far")
            }

    def test_versions_embed_the_same_images_of_the_same_people(self, load: Any) -> None:
        life_cycle = load("life_cycle")
        versions = life_cycle.simulate(["46.4", "3"], 50, part="test", seed=3)
        assert list(versions) == ["46.4", "3"]
        assert versions["3"].ids.tolist() == versions["46.4"].ids.tolist()
        alone = life_cycle.simulate(["3"], 50, part="test", seed=3)["3"]
        assert np.array_equal(alone.vectors, versions["3"].vectors)
        assert not np.allclose(versions["3"].vectors, versions["46.4"].vectors, atol=0.1)

    def test_train_and_test_share_no_one(self, load: Any) -> None:
        train, test = (load("life_cycle").simulate(["11"], 50, part=part, seed=0)["11"] for part in ("train", "test"))
        assert not {*train.labels.tolist()} & {*test.labels.tolist()}
        assert not np.isin(train.vectors[:, 0], test.vectors[:, 0]).any()

    def test_shared_parts_of_a_known_regression(self, load: Any) -> None:
        """Persons and images that are shared in part: the regression of new on old is known in closed form."""
        from_table = load("calibrate_life_cycle").shared_parts
        row, spread = load("paper").Row, np.exp(0.2**2)
        person, image, old_image = 0.9, 0.5, 0.2
        new_image = 0.15
        slope = (np.sqrt(person) + np.sqrt(image * old_image * new_image)) / (1 + old_image)
        variances = 1 + new_image, slope**2 * (1 + old_image)
        covariances = 1.0, slope**2, slope * np.sqrt(person)
        squares = [
            (variances[0] - covariances[0], variances[0]),
            (variances[1] - covariances[1], variances[1]),
            (sum(variances) / 2 - covariances[2], sum(variances) / 2),
        ]
        rows = [row(np.sqrt(2 * near / spread), np.sqrt(2 * far), 0.05, 1) for near, far in [*squares, squares[2]]]
        assert from_table(rows) == pytest.approx((person, image))

    def test_steps_multiply_to_what_the_table_says_of_the_whole_way(self, load: Any) -> None:
        calibrate = load("calibrate_life_cycle")
        shares, whole = calibrate.kept_parts(), calibrate.shared_parts(calibrate.STEP_TO_46)
        for part in range(2):
            assert shares["16"][part] * shares["27"][part] * shares["46.4"][part] == pytest.approx(whole[part])
        versions = load("life_cycle").read_versions()
        for name, (person, image) in shares.items():
            assert versions[name].kept_identity == pytest.approx(person, abs=1e-5)
            assert versions[name].kept_image == pytest.approx(image, abs=1e-5)

    def test_a_linear_map_predicts_about_what_is_shared(self, load: Any) -> None:
        import embcompat as ec

        pairs = load("life_cycle").simulated_pairs("11", "46.4", 4_000, part="train", seed=0)
        split = ec.split_pairs(pairs, seed=0)
        target = split.test.target.vectors
        left = target - ec.fit_affine(split.train, split.validation).transform(split.test.source.vectors)
        predicted = 1 - float(np.square(left).sum() / np.square(target - target.mean(axis=0)).sum())
        assert 0.7 < predicted < (1.975253 / 2.183251) ** 2, "the rest is fresh, or not linear"


class TestTable1:
    def test_smoke(self, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result, printed = smoke(load("table1"), tmp_path, capsys)
        names = list(result["cells"])
        assert [name.split(":")[0] for name in names] == ["simulated", "LFW, raw"]
        for cell in result["cells"].values():
            assert list(cell["scenarios"]) == ["S1", "S2", "S3", "S4"]
            assert cell["scenarios"]["S1"]["frr"] == pytest.approx(0.05, abs=0.01)
            assert cell["paper"] is None
            assert cell["epochs"] == 1
        assert "paper" not in printed

    def test_an_unfinished_cell_is_resumed_after_its_last_epoch(self, load: Any, tmp_path: Path) -> None:
        table1 = load("table1")
        job = next(table1.list_jobs(["simulated"], smoke=True))
        fixed = {"output": tmp_path, "seed": 0, "smoke": True, "device": "cpu"}
        stops = [argparse.Namespace(epochs=epochs, **fixed) for epochs in (1, 2)]
        split = table1.load_split(job, stops[0])
        assert [table1.train(job, split, options, None)[1]["epochs"] for options in stops] == [1, 2]
        metrics = [path.read_text().splitlines()[1:] for path in sorted(tmp_path.rglob("metrics.csv"))]
        assert [[line.split(",")[0] for line in lines] for lines in metrics] == [["0"], ["1"]]

    def test_the_whole_grid_with_the_papers_cells_first(self, load: Any) -> None:
        table1 = load("table1")
        jobs = list(table1.list_jobs(["simulated"], smoke=False))
        assert len({job.name for job in jobs}) == 2 * 2 * 3 * 4
        assert {cell.subjects for cell in (job.cell for job in jobs[:16])} == {60_000}
        printed = [table1.paper_cell(job.cell) is not None for job in jobs[:16]]
        assert printed == sorted(printed, reverse=True)
        assert sum(printed) == 6
        assert len(list(table1.list_jobs(["lfw"], smoke=False))) == 2 * 2 * 2 * 2

    def test_large_cells_need_a_gpu_and_finished_ones_are_kept(
        self, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table1 = load("table1")
        ran: list[str] = []
        figures = {"most_epochs": 2, "scenarios": {}, "paper": None}
        monkeypatch.setattr(table1, "run", lambda job, *_: ran.append(job.name) or figures)
        monkeypatch.setattr(table1, "has_gpu", lambda: False)
        for _ in range(2):
            table1.main(["--output", str(tmp_path), "--epochs", "2", "--parts", "simulated"])
        assert len(ran) == 16, "the second run finds them done"
        printed = capsys.readouterr().out
        assert "1,680,000 subjects: not run, needs a GPU" in printed
        assert printed.count("done before") == 16
        table1.main(["--output", str(tmp_path), "--epochs", "3", "--parts", "simulated"])
        assert len(ran) == 32, "another cap of the epochs is another run"

    def test_the_time_limit_ends_a_cell_after_an_epoch_and_the_next_run_finishes_it(
        self, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table1 = load("table1")
        job = next(table1.list_jobs(["simulated"], smoke=True))
        monkeypatch.setattr(table1, "list_jobs", lambda *_, **__: iter([job]))
        monkeypatch.setattr(table1, "TEST_SUBJECTS", 300)
        arguments = ["--output", str(tmp_path), "--epochs", "2", "--device", "cpu"]
        path, cells = tmp_path / "table1.json", []
        for limit in (["--time-limit", "1e-9"], ["--time-limit", "1e-9"], []):
            with monkeypatch.context() as patched:  # a recipe that takes no time leaves the limit to its fits
                patched.setattr(table1, "time", SimpleNamespace(monotonic=itertools.count(0, 1e-12).__next__))
                table1.main([*arguments, *limit])
            cells.append(json.loads(path.read_text())["cells"][job.name])
        assert [(cell["epochs"], cell["unfinished"]) for cell in cells] == [(1, True), (2, False), (2, False)]
        printed = capsys.readouterr().out
        assert "1 of 2 epochs" in printed
        assert "the next run resumes it" in printed
        assert "done before" in printed

    def test_without_a_gpu_the_device_gpu_is_refused(
        self, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table1 = load("table1")
        monkeypatch.setattr(table1, "has_gpu", lambda: False)
        with pytest.raises(SystemExit):
            table1.main(["--output", str(tmp_path), "--device", "gpu"])
        assert "--device gpu needs a GPU, and torch finds none" in capsys.readouterr().err


class TestFigures:
    def test_smoke(self, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result, _ = smoke(load("figures"), tmp_path, capsys)
        assert result["files"] == [f"figure{number}.{ending}" for number in range(1, 5) for ending in ("svg", "png")]
        for name in result["files"]:
            assert (tmp_path / name).stat().st_size > 5_000

    def test_the_same_picture_is_the_same_bytes(self, load: Any, tmp_path: Path) -> None:
        figures = load("figures")
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            figures.save(figures.draw_multi_branch, tmp_path / folder / "figure2", (9.2, 3.4))
        for name in ("figure2.svg", "figure2.png"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_the_plane_holds_most_variance(self, load: Any) -> None:
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((500, 4)) * [1, 9, 1, 5] + 3
        plane = load("figures").Plane.of(rows)
        flat = plane.project(rows)
        assert plane.explained == pytest.approx(flat.var(axis=0) / rows.var(axis=0).sum())
        assert np.allclose(flat.mean(axis=0), 0)
        assert np.abs(np.corrcoef(flat[:, 0], rows[:, 1])[0, 1]) > 0.99
        assert np.abs(np.corrcoef(flat[:, 1], rows[:, 3])[0, 1]) > 0.99

    def test_an_extracted_vector_has_one_place_in_all_panels_of_figure_4(self, load: Any) -> None:
        from matplotlib.figure import Figure

        figures = load("figures")
        test = load("lfw").stand_in_pairs(subjects=20)
        rng = np.random.default_rng(0)
        noisy = {kind: test.target.vectors + rng.normal(0, spread, (80, 128)) for kind, spread in (("a", 1), ("b", 9))}
        figures.KINDS.update(a="A", b="B")
        canvas = Figure()
        figures.draw_samples(test, noisy, 10, canvas)
        starts, limits = [], []
        for axes in canvas.axes:
            starts.append([line.get_xydata()[0] for line in axes.lines])
            limits.append((*axes.get_xlim(), *axes.get_ylim()))
            assert "component 1 (" in axes.get_xlabel()
        assert np.allclose(*starts)
        assert np.allclose(*limits)


class TestSeveralVersions:
    def test_smoke(self, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result, _ = smoke(load("several_versions"), tmp_path, capsys)
        assert list(result["equation_1"]) == ["16", "27"]
        assert "composed" not in result["equation_1"]["27"], "one step is the direct way"
        assert list(result["equation_2"]) == ["16, 27"]
        assert result["native"]["frr"] == pytest.approx(0.05, abs=0.01)
        assert result["native"]["far_at_frr"] <= result["one_gallery"]["far_at_frr"]
        values = np.array(result["compatibility"]["values"])
        assert values.shape == (3, 3)
        assert (values.diagonal() >= values.min(axis=1)).all()


def test_every_recipe_is_in_the_table() -> None:
    text = (ROOT / "recipes" / "README.md").read_text()
    recipes = {path.name for path in FACE.glob("*.py") if "make_parser(__doc__)" in path.read_text()}
    assert len(recipes) >= 4
    missing = [name for name in sorted(recipes) if f"(face/{name})" not in text]
    assert not missing


def test_the_table_of_the_life_cycle_shows_what_is_recorded() -> None:
    text = (ROOT / "recipes" / "README.md").read_text()
    for name, version in json.loads((EXPECTED / "life_cycle.json").read_text())["versions"].items():
        ours, paper = version["simulated"], version["paper"]
        cells = [f"{ours[key]:.4f} ({paper[key]:.4f})" for key in ("mean_genuine", "mean_impostor")]
        cells.append(f"1/{1 / ours['far']:,.0f} (1/{1 / paper['far']:,.0f})")
        assert f"| {name} | {' | '.join(cells)} |" in text


def test_the_figures_of_table_1_are_those_recorded() -> None:
    text = (ROOT / "recipes" / "README.md").read_text()
    recorded = json.loads((EXPECTED / "table1.json").read_text())
    assert recorded["smoke"] is False
    cells = [cell for cell in recorded["cells"].values() if cell.get("paper") or cell.get("all_images")]
    assert len(cells) >= 7
    for cell in cells:
        second, third = (cell["scenarios"][name] for name in ("S2", "S3"))
        output = f"{third['frr']:.2%}, 1/{1 / third['far']:,.0f}"
        assert output in text
        if cell["paper"] is not None:
            row = cell["paper"]["rows"][1]
            reference = f"{row['frr']:.2%}, 1/{row['one_in']:,}"
            assert f"{second['frr']:.2%}, 1/{1 / second['far']:,.0f} ({reference})" in text


def test_the_figures_of_several_versions_are_those_recorded() -> None:
    text = (ROOT / "recipes" / "README.md").read_text()
    result = json.loads((EXPECTED / "several_versions.json").read_text())
    ways = [result["native"], result["one_gallery"], *result["equation_1"]["3"].values()]
    for rate in (each["far_at_frr"] for each in [*ways, *result["equation_1"]["16"].values()]):
        assert f"1/{1 / rate:,.0f}" in text
