"""Ways to serve a gallery during and after a model change, over any search function. No torch.

======================  =============================================================  ================
mode                    what is searched                                               models alive
======================  =============================================================  ================
converted gallery       converted rows, by the new query (any search, nothing to add)  new
`QueryBridge`           old rows, by the new query mapped to the old space             new
`WeightedSearch`        native and converted rows, by the weighted new query           new
`FusedSearch`           converted rows by the new query, old rows by the old query     old and new
`fuse_vectors`          one index that holds both sides of every row                   old and new
`fold_queries`          old rows, by one vector folded from both queries               old and new
`MixedGallery`          native and converted rows while a migration runs               new
`Scorer`                any rows; scores normalized against a cohort of strangers      new
======================  =============================================================  ================
"""

from embcompat.serving.fusion import DEFAULT_WEIGHT, Model, choose_fusion_weight, fold_queries, fuse_vectors
from embcompat.serving.scorer import Scorer
from embcompat.serving.search import (
    DEFAULT_DEPTH,
    FusedSearch,
    MixedGallery,
    QueryBridge,
    Search,
    WeightedSearch,
    calibrate_scores,
)

__all__ = [
    "DEFAULT_DEPTH",
    "DEFAULT_WEIGHT",
    "FusedSearch",
    "MixedGallery",
    "Model",
    "QueryBridge",
    "Scorer",
    "Search",
    "WeightedSearch",
    "calibrate_scores",
    "choose_fusion_weight",
    "fold_queries",
    "fuse_vectors",
]
