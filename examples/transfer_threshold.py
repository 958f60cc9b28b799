"""Change a face model and keep the false accept rate: which threshold takes the old one's place, and what it costs.

python examples/transfer_threshold.py
"""

import embcompat as ec
from embcompat.evaluation.verification import count_impostors, scenario_pairs, transfer_threshold
from embcompat.testing import make_pairs

IN_PRODUCTION = 0.45


def main() -> None:
    # Yours: vectors of the same images under both models, with a label for each person.
    pairs = make_pairs(3_000, source_dim=48, target_dim=24, noise=0.2, subjects=600, normalized=True).pairs
    split = ec.split_pairs(pairs, test=0.5)  # by person: nobody is on both sides

    aligner = ec.fit_affine(split.train, split.validation)
    old, new = split.test.source, split.test.target
    converted = ec.convert_embeddings(aligner, old, new.space)

    scenarios = scenario_pairs(old, new, converted, all_images=True)
    for name, what in (("S3", "converted against new"), ("S1", "new against new")):
        transfer = transfer_threshold(scenarios["old"], scenarios[name], IN_PRODUCTION)
        threshold = transfer.threshold
        print(f"{what}: {IN_PRODUCTION} becomes {threshold.value:.3f} ({threshold.low:.3f} to {threshold.high:.3f})")
        print(f"  false accepts stay at {transfer.far.value:.5f}; false rejects {transfer.old_frr:.3f} -> ", end="")
        print(f"{transfer.frr.value:.3f}")
        if transfer.warning is not None:
            print(f"  {transfer.warning}")

    unchanged = count_impostors(scenarios["S3"], [IN_PRODUCTION])
    print(f"left as it was, the threshold would falsely accept {unchanged.above[0] / unchanged.total:.3f}")


if __name__ == "__main__":
    main()
