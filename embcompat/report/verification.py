"""The figures of a verification as rows of text: its scenarios, and the groups of people in them."""

from __future__ import annotations

from collections.abc import Mapping

from embcompat.evaluation.verification.figures import one_in
from embcompat.report.tables import Rows
from embcompat.report.wording import MISSING, NAMES, SCENARIOS, as_interval, as_number, as_percent
from embcompat.results import Estimate, GroupRates, Scenario, ScenarioResult, VerificationReport


def tabulate_scenarios(result: VerificationReport) -> Rows:
    """Return the figures of each verification scenario."""
    header = (
        "scenario",
        "anchor – positive",
        "false rejects",
        "false accepts",
        "false accepts, own threshold",
        "mean genuine",
        "mean impostor",
        "threshold",
    )
    plain = [(NAMES.get(name, name), name, each) for name, each in result.in_order().items()]
    normalized = [(f"{name}, normalized", name, each) for name, each in (result.normalized or {}).items()]
    cells = [
        (
            title,
            SCENARIOS[name],
            as_percent(each.frr.value),
            as_far(each.far, each),
            as_far(each.far_at_frr, each),
            as_number(each.mean_genuine),
            as_number(each.mean_impostor),
            as_number(each.threshold),
        )
        for title, name, each in (*plain, *normalized)
    ]
    return Rows(header, tuple(cells))


def tabulate_groups(groups: Mapping[str, Mapping[Scenario, GroupRates]]) -> Rows:
    """Return the false rates within each group of people."""
    header = (
        "group",
        "people",
        "anchor – positive",
        "false rejects",
        "95 % interval",
        "false accepts",
        "95 % interval",
    )
    cells = [
        (
            group,
            f"{each.people:,}",
            SCENARIOS[name],
            as_percent(None if each.frr is None else each.frr.value),
            as_interval(each.frr, as_percent),
            MISSING if each.far is None else _one_in(each.far.value, each.impostor_pairs),
            as_interval(each.far, _as_one_in),
        )
        for group, scenarios in groups.items()
        for name, each in scenarios.items()
    ]
    return Rows(header, tuple(cells))


def _as_one_in(rate: float | None) -> str:
    return MISSING if rate is None else _one_in(rate, None)


def _one_in(rate: float, trials: int | None) -> str:
    return one_in(rate, trials=trials).replace(" ", "\N{NO-BREAK SPACE}")


def as_far(rate: Estimate, scenario: ScenarioResult) -> str:
    """Write a false accept rate of a scenario as one in so many."""
    return _one_in(rate.value, scenario.impostor_pairs)
