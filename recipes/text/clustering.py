"""Do clusters survive the conversion? k-means on old, converted and new vectors of texts with known labels.

Every clustering is compared with the labels and with the new model's own clusters. How much two runs of k-means on
the *same* new vectors agree is the most that can be asked for. The converted texts are those that were not fitted.

    python recipes/text/clustering.py --data DATA --output recipes-out

Needs scikit-learn: ``pip install 'embcompat[cluster]'``.
"""

from __future__ import annotations

import numpy as np
from loading import QUICK, load_labelled, read_options, show, without_labels, write
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

import embcompat as ec

UPGRADES = (("para_l3", "minilm"), ("static64", "minilm"))
FITTED = 0.3


def cluster(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    return KMeans(count, n_init=3, random_state=seed).fit_predict(vectors)


def purity(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Return the part of the texts that carry the commonest label of their cluster."""
    return float(contingency_matrix(labels, clusters).max(axis=0).sum() / len(labels))


def compare(old: ec.Embeddings, new: ec.Embeddings, *, seed: int) -> dict[str, dict[str, float]]:
    """Fit on a part of the texts, cluster the others in each space, and compare the clusterings."""
    order = np.random.default_rng(seed).permutation(len(old))
    fitted, rest = np.split(order, [round(FITTED * len(old))])
    pairs = ec.pair_embeddings(*(without_labels(side.select(fitted)) for side in (old, new)))
    split = ec.split_pairs(pairs, test=0, seed=seed)
    aligner = ec.fit_aligner("kernel", split.train, split.validation, seed=seed)
    labels = old.labels[rest].astype(str)
    count = len(np.unique(labels))
    clusterings = {
        "old": cluster(old.vectors[rest], count, seed),
        "converted": cluster(aligner.transform(old.vectors[rest]), count, seed),
        "new": cluster(new.vectors[rest], count, seed),
        "new, again": cluster(new.vectors[rest], count, seed + 1),
    }
    return {
        name: {
            "purity": purity(labels, clusters),
            "nmi_labels": float(normalized_mutual_info_score(labels, clusters)),
            "ari_labels": float(adjusted_rand_score(labels, clusters)),
            "nmi_new": float(normalized_mutual_info_score(clusterings["new"], clusters)),
            "ari_new": float(adjusted_rand_score(clusterings["new"], clusters)),
        }
        for name, clusters in clusterings.items()
    }


def main() -> None:
    options = read_options(__doc__)
    upgrades = (QUICK,) if options.smoke else UPGRADES
    sides = load_labelled(options, sorted({model for pair in upgrades for model in pair}))
    result = {}
    for old, new in upgrades:
        comparison = result[f"{old} → {new}"] = compare(sides[old], sides[new], seed=options.seed)
        show(
            f"{old} → {new}: clusters of texts that were not fitted",
            ("k-means on", "purity", "NMI, labels", "ARI, labels", "NMI, new's", "ARI, new's"),
            [(name, *(f"{value:.3f}" for value in figures.values())) for name, figures in comparison.items()],
        )
    write(options, "clustering", {"upgrades": result})


if __name__ == "__main__":
    main()
