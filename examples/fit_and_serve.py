"""Fit an aligner on pairs, keep it as an artifact, and serve it with numpy and onnxruntime alone.

python examples/fit_and_serve.py
"""

import embcompat as ec
from embcompat.testing import make_pairs


def main() -> None:
    # Yours: ec.pair_embeddings(ec.Embeddings.load("old.parquet"), ec.Embeddings.load("new.parquet"))
    pairs = make_pairs(2_000, source_dim=64, target_dim=96, how="affine", noise=0.1, normalized=True).pairs
    split = ec.split_pairs(pairs, seed=0)

    choice = ec.select_aligner(split.train, split.validation)
    for candidate in choice.candidates:
        score = candidate.score
        print(f"{candidate.name:<11} {choice.metric} {score.value:.3f} ({score.low:.3f} to {score.high:.3f})")
    print(f"chosen: {choice.chosen.name}, the first that is as good as the best")

    spaces = {"source": pairs.source.space, "target": pairs.target.space}
    ec.save_artifact(choice.aligner, "old-to-new", split=split, overwrite=True, **spaces)

    aligner = ec.OnnxAligner("old-to-new")
    converted = aligner.transform(split.test.source.vectors)
    cosine = (converted * split.test.target.vectors).sum(axis=1).mean()
    print(f"{aligner}: mean cosine {cosine:.2f} on {len(converted)} held-out items")


if __name__ == "__main__":
    main()
