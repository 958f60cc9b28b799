"""Table 1 of the paper, as data: Vieira-e-Silva et al., FC-Aligner.

The paper's text (section 4.2) also names a FAR of 1/100k for the source and 1/2M for the target model at an FRR of
5 %. These are of another test; the recipes compare with the table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One scenario of one aligner.

    Attributes:
        mean_genuine: Mean distance of pairs of one subject.
        mean_impostor: Mean distance of pairs of two subjects.
        frr: False reject rate, a fraction.
        one_in: False accept rate, as N of "1 in N".
    """

    mean_genuine: float
    mean_impostor: float
    frr: float
    one_in: int


@dataclass(frozen=True)
class Cell:
    """What an aligner is trained from and to, and how."""

    source: str
    target: str
    kind: str
    subjects: int
    batch_size: int


SCENARIO_1 = {
    "11": Row(0.555701, 1.264120, 0.04533921, 23_523),
    "16": Row(0.676062, 1.571831, 0.04983836, 24_523),
    "27": Row(0.713236, 1.643047, 0.04990571, 28_401),
    "46.4": Row(0.902679, 2.183250, 0.04977101, 30_775),
}
"""Scenario 1 by target version: the new model among itself, which no aligner changes."""

TABLE_1: dict[Cell, tuple[Row, Row, Row, Row]] = {
    Cell("11", "46.4", "dense", 1_680_000, 512): (
        SCENARIO_1["46.4"],
        Row(0.857281, 1.954131, 0.02929688, 11_082),
        Row(0.957023, 2.071042, 0.05293642, 20_779),
        Row(0.956371, 2.071352, 0.05428341, 20_561),
    ),
    Cell("11", "46.4", "multi_branch", 1_680_000, 512): (
        SCENARIO_1["46.4"],
        Row(0.864956, 1.975253, 0.03077856, 12_110),
        Row(0.961525, 2.081599, 0.05697737, 21_765),
        Row(0.961273, 2.081967, 0.05832435, 21_572),
    ),
    Cell("11", "46.4", "multi_branch", 321_000, 128): (
        SCENARIO_1["46.4"],
        Row(0.909361, 2.046864, 0.05650593, 21_091),
        Row(0.974820, 2.115910, 0.07132274, 27_607),
        Row(0.973671, 2.115586, 0.07293912, 27_263),
    ),
    Cell("3", "11", "multi_branch", 60_000, 128): (
        SCENARIO_1["11"],
        Row(0.497169, 1.155949, 0.02196848, 1_930),
        Row(0.583338, 1.210613, 0.04373665, 5_263),
        Row(0.582165, 1.210958, 0.04033120, 5_423),
    ),
    Cell("11", "16", "multi_branch", 60_000, 128): (
        SCENARIO_1["16"],
        Row(0.657643, 1.533731, 0.03683998, 17_246),
        Row(0.683286, 1.552855, 0.04404634, 20_716),
        Row(0.683358, 1.552975, 0.04552802, 20_877),
    ),
    Cell("11", "27", "multi_branch", 60_000, 128): (
        SCENARIO_1["27"],
        Row(0.683606, 1.578432, 0.03158675, 14_921),
        Row(0.730033, 1.610853, 0.04424838, 21_488),
        Row(0.730411, 1.611267, 0.04431573, 21_484),
    ),
}
"""Scenarios 1 to 4 of each aligner."""

TEST_SUBJECTS = 14_848
"""Test subjects, each with an anchor and a positive."""
