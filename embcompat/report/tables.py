"""The figures of each kind of result as rows of text, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from embcompat.report.wording import (
    LINES,
    MISSING,
    TEXT_LINES,
    WHAT,
    as_difference,
    as_interval,
    as_number,
    as_percent,
    as_seconds,
    as_share,
)
from embcompat.results import (
    BackfillCurve,
    BudgetPoint,
    Estimate,
    HybridReport,
    LearningCurve,
    OrderCurve,
    QueryChange,
    RetrievalReport,
    Scored,
    TextReport,
    Times,
)


class Rows(NamedTuple):
    """A table: the names of its columns, and its cells."""

    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


def tabulate_lines(result: RetrievalReport, *, fidelity: bool = False) -> Rows:
    """Return the five lines; below them the same without the fitted items in the gallery, where some were fitted.

    Both converted lines are named: *as served* the fitted items are native, *alone* every row is converted.

    Args:
        result: The figures.
        fidelity: Whether they measure fidelity to the new model rather than quality.
    """
    metric = f"{result.metric}, fidelity" if fidelity else result.metric
    header = ("line", "searched with, searched in", metric, "95 % interval", "against today")
    cells = [
        (
            f"{LINES[name]}, as served" if result.unfitted and name in ("converted", "fused") else LINES[name],
            WHAT[name],
            as_number(line.value),
            as_interval(line),
            _with_interval(result.differences.get(name), as_difference),
        )
        for name, line in result.lines.items()
    ]
    if result.unfitted:
        cells += [
            (
                f"{LINES[name]} alone" if name in ("converted", "fused") else f"{LINES[name]}, same items",
                f"{WHAT[name]}, without fitted items",
                as_number(result.unfitted.means.get(name)),
                MISSING,
                _with_interval(result.unfitted.differences.get(name), as_difference),
            )
            for name in LINES
            if name != "naive_swap" and name in result.unfitted.means
        ]
    return Rows(header, tuple(cells))


def tabulate_recall(result: RetrievalReport) -> Rows:
    """Return recall at each depth for each line."""
    curves = result.recall()
    depths = sorted({depth for curve in curves.values() for depth in curve})
    cells = [(f"{depth:,}", *(as_number(curve.get(depth)) for curve in curves.values())) for depth in depths]
    return Rows(("k", *(LINES[name] for name in curves)), tuple(cells))


def tabulate_sizes(result: RetrievalReport) -> Rows:
    """Return the share of a full reindex that each line keeps, on nested parts of the gallery."""
    parts = sorted(result.retention_by_size, key=lambda part: part.gallery_size)
    names = [name for name in LINES if any(name in part.retentions for part in parts)]
    cells = [
        (f"{part.gallery_size:,}", *(_with_interval(part.retentions.get(name), as_percent) for name in names))
        for part in parts
    ]
    return Rows(("items", *(LINES[name] for name in names)), tuple(cells))


def tabulate_budget(points: Sequence[BudgetPoint]) -> Rows:
    """Return the cost and the quality of each mode."""
    timed = any(each.seconds is not None for each in points)
    cells = [
        (
            name_point(each),
            as_percent(each.share_of_reindex),
            *([as_seconds(each.seconds)] if timed else []),
            _with_interval(each.difference, as_difference),
            _with_interval(each.retention, as_percent),
        )
        for each in points
    ]
    time = ("time to embed",) if timed else ()
    return Rows(("mode", "of a reindex's work", *time, "against today", "of a reindex's quality"), tuple(cells))


def tabulate_hybrid(hybrid: HybridReport) -> Rows:
    """Return the hybrid of each line: equal weights, and weights that cross-fitting chose."""
    header = ("with the lexical run", "equal weights", "against today's hybrid", "chosen weights", "against today's")
    cells = [("Lexical run alone", as_number(hybrid.lexical.value), MISSING, MISSING, MISSING)]
    cells += [
        (
            LINES[name],
            as_number(hybrid.lines[name].equal.value),
            _with_interval(hybrid.lines[name].equal_difference, as_difference),
            as_number(hybrid.lines[name].chosen.value),
            _with_interval(hybrid.lines[name].chosen_difference, as_difference),
        )
        for name in LINES
        if name in hybrid.lines
    ]
    return Rows(header, tuple(cells))


def tabulate_texts(texts: TextReport) -> Rows:
    """Return a conversion with texts beside those by the vectors alone and by the words alone."""
    header = ("converted by", texts.metric, "against today", "vectors and words gain")
    cells = [
        (
            TEXT_LINES[name],
            as_number(line.value.value),
            _with_interval(line.difference, as_difference),
            _with_interval(line.gain, as_difference),
        )
        for name, line in texts.lines.items()
    ]
    return Rows(header, tuple(cells))


def describe_texts(texts: TextReport) -> str:
    """Describe where a conversion with texts was measured, and what it costs."""
    sentences = ["In the gallery without the fitted items, every row converted."]
    if texts.rows_without_text:
        sentences.append(f"{texts.rows_without_text:,} rows hold no known word and are converted by the vector alone.")
    sentences.append(f"Converting a million documents takes {as_seconds(texts.seconds_per_million)}.")
    return " ".join(sentences)


def tabulate_changes(changes: Sequence[QueryChange], metric: str) -> Rows:
    """Return single queries, with the rank of the best relevant item before and after."""
    cells = [
        (
            each.query if each.text is None else f"{each.query}: {each.text}",
            f"{each.before:,}",
            f"{each.after:,}",
            as_difference(each.difference),
        )
        for each in changes
    ]
    return Rows(("query", "rank today", "rank converted", metric), tuple(cells))


def tabulate_times(times: Times) -> Rows:
    """Return what each step took."""
    steps = {
        "re-embed the gallery": times.reembed_seconds,
        "embed the pairs": times.pairs_seconds,
        "fit": times.fit_seconds,
        "convert": times.convert_seconds,
    }
    return Rows(("step", "time"), tuple((name, as_seconds(took)) for name, took in steps.items() if took is not None))


def tabulate_candidates(candidates: Sequence[Scored]) -> Rows:
    """Return the aligners that were tried."""
    header = ("aligner", "parameters", "fit", "score", "against the best", "as good")
    cells = [
        (
            each.name,
            f"{each.parameters:,}",
            as_seconds(each.fit_seconds),
            _with_interval(each.score, as_number),
            _with_interval(each.against_best, as_number),
            "yes" if each.as_good else "no",
        )
        for each in candidates
    ]
    return Rows(header, tuple(cells))


def tabulate_learning(result: LearningCurve) -> Rows:
    """Return a metric for each number of pairs."""
    cells = [
        (f"{pairs:,}", as_number(each.value), as_interval(each))
        for pairs, each in zip(result.pairs, result.values, strict=True)
    ]
    return Rows(("pairs", result.metric, "95 % interval"), tuple(cells))


def tabulate_backfill(result: BackfillCurve, *, intervals: bool = True) -> Rows:
    """Return a metric for each order at each fraction that is embedded with the new model.

    Args:
        result: The curves.
        intervals: Whether to write the intervals too.
    """
    orders = result.orders
    fractions = sorted({fraction for order in orders.values() for fraction in order.fractions})
    cells = [
        (as_percent(fraction), *(_at(order, fraction, intervals=intervals) for order in orders.values()))
        for fraction in fractions
    ]
    cells.append(("area under the curve", *(as_number(order.auc.value) for order in orders.values())))
    return Rows(("re-embedded", *(name.replace("_", " ") for name in orders)), tuple(cells))


def name_point(point: BudgetPoint) -> str:
    """Name a mode, with what is re-embedded, and whether queries are served fused."""
    if point.mode == "backfill":
        what = "backfill" if point.fraction is None else f"backfill {as_share(point.fraction)}"
    elif point.mode == "lazy_backfill":
        what = "lazy" if point.depth is None else f"lazy {point.depth}"
    else:
        return point.mode
    return f"{what}{', first query' if point.cold else ''}{', fused' if len(point.needs) > 1 else ''}"


def _at(order: OrderCurve, fraction: float, *, intervals: bool) -> str:
    if fraction not in order.fractions:
        return MISSING
    figure = order.metric[order.fractions.index(fraction)]
    return _with_interval(figure, as_number) if intervals else as_number(figure.value)


def _with_interval(figure: Estimate | None, write: Callable[[float | None], str]) -> str:
    if figure is None:
        return MISSING
    interval = as_interval(figure, write)
    return write(figure.value) if interval == MISSING else f"{write(figure.value)} ({interval})"
