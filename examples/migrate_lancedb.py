"""Convert a LanceDB table beside the vectors in service, verify it, switch over in one step, and go back.

python examples/migrate_lancedb.py
"""

import tempfile

import lancedb
import pyarrow as pa

import embcompat as ec
from embcompat.migration import cut_over, roll_back, run_migration, verify_migration
from embcompat.stores import open_store
from embcompat.testing import make_pairs


def main() -> None:
    pairs = make_pairs(2_000, source_dim=32, target_dim=48, how="affine", noise=0.1, normalized=True).pairs
    old, new = pairs.source, pairs.target

    with tempfile.TemporaryDirectory() as folder:
        database = lancedb.connect(folder)
        column = pa.FixedSizeListArray.from_arrays(pa.array(old.vectors.reshape(-1)), old.space.dim)
        database.create_table("docs", pa.table({"id": old.ids.tolist(), "vector": column}))

        split = ec.split_pairs(pairs)
        aligner = ec.fit_affine(split.train, split.validation)
        ec.save_artifact(aligner, f"{folder}/old-to-new", source=old.space, target=new.space, split=split)

        onnx_aligner = ec.OnnxAligner(f"{folder}/old-to-new")
        store = open_store(f"lancedb://{folder}#docs.vector")
        report = run_migration(onnx_aligner, store)
        print(f"converted {report.rows:,} rows; the old vectors are still in service")
        print(f"verified: {verify_migration(onnx_aligner, store).coverage.missing} rows are missing")

        cut_over(onnx_aligner, store)
        query = new.vectors[1_234]
        best = database.open_table("docs").search(query, vector_column_name="vector").limit(1).to_list()[0]
        print(f"in service now: the new query of {new.ids[1_234]} finds {best['id']}")

        roll_back(onnx_aligner, store)
        print("rolled back: nothing was lost, because nothing was overwritten")


if __name__ == "__main__":
    main()
