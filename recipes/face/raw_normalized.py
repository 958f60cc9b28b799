"""Normalized scores in raw Euclidean spaces, for raw_spaces.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from pooled import count_errors, pool, pooled_ratio

import embcompat as ec
from embcompat.aligners import fit_kernel, reweight
from embcompat.evaluation.verification import (
    draw_subjects,
    make_score_cohort,
    make_score_moments,
    normalized_scenarios,
    one_in,
    scenario_pairs,
)


def run_normalized(pairs: ec.PairedEmbeddings, *, seed: int, smoke: bool) -> dict[str, Any]:
    """Normalize the queries' scores by the fitted people, or by their statistics, and compare with plain scores."""
    split = ec.split_pairs(pairs, test=0.3, seed=seed)
    aligner = reweight(fit_kernel(split.train, split.validation, seed=seed), split.validation)
    people, converted = (
        ec.convert_embeddings(aligner, part.source, part.target.space) for part in (split.train, split.test)
    )
    plain = scenario_pairs(split.test.source, split.test.target, converted, all_images=True)
    draws = draw_subjects(plain["S1"], seed=seed, replicates=50 if smoke else 1_000)
    there = len(set(np.asarray(people.labels).tolist()))
    cohorts: dict[str, Any] = {
        f"{count:,} people" if count < there else "all people": make_score_cohort(
            people, split.train.target, people=count, seed=seed
        )
        for count in ((100,) if smoke else (300, 1_000, there))
    }
    if not smoke:  # statistics of so few people are refused
        cohorts["statistics"] = make_score_moments(people, split.train.target, seed=seed)
    lines = {name: plain[name] for name in ("S1", "old", "S3")}
    for way, cohort in cohorts.items():
        scored = normalized_scenarios(plain, cohort)
        lines |= {f"{scenario}, {way}": scored[scenario] for scenario in ("S1", "S3")}
    counts = {name: [count_errors(side, 0.0, draws)] for name, side in lines.items()}
    votes = [draws.impostor_votes.tolist()]
    return {
        name: {
            "far_at_frr": pool(count, votes)["far_at_frr"],
            "to_plain": pooled_ratio(count, counts[name.partition(",")[0]], votes),
        }
        for name, count in counts.items()
    }


def show_normalized(name: str, lines: dict[str, Any]) -> None:
    print(f"\n{name}: FAR at FRR 5 %, and as a multiple of the plain scores' (95 %)")
    for line, row in lines.items():
        ratio = row["to_plain"]
        complete = None not in (ratio["value"], ratio.get("high"))  # a ratio to no error has no end
        times = "{value:.3f} ({low:.3f} to {high:.3f})".format(**ratio) if complete else ""
        print(f"  {line:34s}{one_in(row['far_at_frr']['value']):>14s}  {times}")
