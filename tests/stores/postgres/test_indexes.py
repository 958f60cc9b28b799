"""Every vector index is built again with its own operators, expression, condition, options and name."""

from __future__ import annotations

from typing import Any

import pytest

from embcompat.migration import cut_over, roll_back, run_migration
from embcompat.runtime import OnnxAligner

DIM = 24


@pytest.mark.parametrize("target", ["?target=table", "?target=column"])
def test_every_vector_index_follows_there_and_back(database: Any, aligner: OnnxAligner, target: str) -> None:
    database.execute(
        f"""
        CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), other vector({DIM}), kind text DEFAULT 'v');
        CREATE INDEX by_l2 ON docs USING hnsw (v vector_l2_ops) WITH (m = 8);
        CREATE INDEX by_ip ON docs USING hnsw (v vector_ip_ops);
        CREATE INDEX part ON docs USING hnsw (v vector_cosine_ops) WHERE kind = 'v' AND id > 3;
        CREATE INDEX half ON docs USING hnsw ((v::halfvec({DIM})) halfvec_l2_ops);
        CREATE INDEX bits ON docs USING hnsw ((binary_quantize(v)::bit({DIM})) bit_hamming_ops);
        CREATE INDEX others ON docs USING hnsw (other vector_cosine_ops);
        """
    )
    database.fill("docs", 20)

    def shown() -> dict[str, str]:
        rows = database.execute(
            "SELECT relname, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indexrelid "
            "WHERE indrelid = 'docs'::regclass AND relname IN ('by_l2', 'by_ip', 'part', 'half', 'bits', 'others')"
        )
        return dict(rows.fetchall())

    old = shown()
    new = {name: text if name == "others" else text.replace(f"({DIM})", "(16)") for name, text in old.items()}
    assert len(old) == 6
    with database.opened(target) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        assert shown() == new
        roll_back(aligner, store)
        assert shown() == old
        cut_over(aligner, store)
        assert shown() == new
