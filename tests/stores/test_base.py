from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embcompat.errors import InputError, MissingExtraError, StoreError, UnknownNameError
from embcompat.stores import Coverage, Rows, open_store, parse_store_url, vector_digests
from embcompat.stores.keys import KeyCodec


def test_digests_tell_apart_what_differs_in_one_bit() -> None:
    vectors = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)
    changed = vectors.copy()
    changed.view(np.uint32)[np.arange(2000), np.arange(2000) % 16] ^= 1 << (np.arange(2000, dtype=np.uint32) % 31)
    digests = np.concatenate([vector_digests(vectors), vector_digests(changed), vector_digests(-vectors)])
    assert len(set(digests.tolist())) == 6000
    assert not (digests == 0).any()


def test_a_digest_depends_on_the_row_alone_and_never_changes() -> None:
    vectors = np.arange(3000 * 3, dtype=np.float32).reshape(3000, 3)
    whole = vector_digests(vectors)
    assert all(vector_digests(vectors[row : row + 1])[0] == whole[row] for row in (0, 511, 512, 2999))
    assert vector_digests(np.asfortranarray(vectors)).tolist() == whole.tolist()
    assert vector_digests(np.zeros((1, 3), np.float32)).tolist() == [1]
    hashes = [hashlib.blake2b(index.to_bytes(8, "little"), digest_size=8).digest() for index in range(3)]
    weights = [int.from_bytes(digest, "little") | 1 for digest in hashes]
    bits = vectors[1].view(np.uint32).tolist()
    expected = sum(weight * bit for weight, bit in zip(weights, bits, strict=True)) % 2**64
    assert int(whole[1]) % 2**64 == expected


@given(st.text(min_size=1), st.integers(), st.uuids())
def test_keys_come_back_as_they_were(text: str, number: int, uuid: UUID) -> None:
    for kinds, key in (
        (("str",), (text,)),
        (("int",), (number,)),
        (("uuid",), (uuid,)),
        (("str", "int", "uuid"), (text, number, uuid)),
    ):
        codec = KeyCodec(kinds)
        columns = [[value, value] for value in key]
        assert codec.columns(codec.ids(columns)) == columns
        assert len(set(codec.ids(columns))) == 1
        assert codec.columns([]) == [[] for _ in kinds]


@pytest.mark.parametrize(("kinds", "text"), [(("int",), "seven"), (("str", "int"), '["a"]'), (("str", "int"), "a,7")])
def test_what_is_not_an_id_is_refused(kinds: tuple, text: str) -> None:
    with pytest.raises(StoreError, match="are not ids of keys of kind"):
        KeyCodec(kinds).columns([text])


def test_urls_are_taken_apart_and_hide_passwords() -> None:
    url = parse_store_url("postgresql://me:s%40cret@host:5432/base#public.docs%2Eold.vector?key=tenant,id")
    assert url.names == ("public", "docs.old", "vector")
    assert url.option("key", "id") == ("tenant", "id")
    assert url.public == "postgresql://me@host:5432/base#public.docs%2Eold.vector?key=tenant,id"
    assert "cret" in url.location
    assert parse_store_url("lancedb:///a%20b#t.v").path.name == "a b"


@pytest.mark.parametrize("address", ["lancedb://{}#t.v", "faiss://{}", "qdrant+local://{}#a.v"])
def test_a_local_path_is_absolute_with_three_slashes_and_relative_with_two(address: str) -> None:
    assert parse_store_url(address.format("/data/a%23b")).path == Path("/data/a#b")
    assert parse_store_url(address.format("Demo-out/a%23b")).path == Path("Demo-out/a#b")
    assert parse_store_url(address.format("localhost/data")).path == Path("/data")


def test_a_file_in_an_object_store_is_no_gallery() -> None:
    with pytest.raises(InputError, match="is in an object store, where files are never changed in place"):
        open_store("s3://bucket/old.parquet#vector")


def test_bad_urls_say_what_is_known() -> None:
    with pytest.raises(UnknownNameError, match=r"no store called 'weaviate'.*lancedb:///folder#table.column"):
        open_store("weaviate:///x#y.z")
    with pytest.raises(InputError, match="takes only key after \\?. Got mode"):
        parse_store_url("lancedb:///x#y.z?mode=1")
    with pytest.raises(InputError, match="must be name=value"):
        parse_store_url("lancedb:///x#y.z?key")
    with pytest.raises(InputError, match=r"has the form lancedb:///folder#table.column"):
        open_store("lancedb:///x#y")
    with pytest.raises(InputError, match="there is no LanceDB folder"):
        open_store("lancedb:///nowhere/at/all#y.z")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    monkeypatch.delitem(sys.modules, "embcompat.stores.lancedb.opening", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'embcompat\[lancedb\]'"):
        open_store("lancedb:///x#y.z")


def test_rows_and_coverage_count() -> None:
    rows = Rows(["a", "b", "c"], np.eye(3, dtype=np.float32), np.array([1, 2, 3]))
    part = rows.select(np.array([True, False, True]))
    assert (part.ids, part.recorded.tolist(), len(part)) == (["a", "c"], [1, 3], 2)
    assert Coverage(rows=10, without_vector=2, converted=5, orphans=1, native=2).missing == 3
