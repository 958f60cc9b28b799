"""One footer over consecutive Parquet files in the same file.

A Parquet file consists of row groups and a footer that locates them. A writer that dies leaves row groups without a
footer: nothing can read them. So a long write appends many small complete Parquet files instead, and at the end one
footer over the row groups of all of them; the footers in between are bytes that no reader looks at. No vector is
copied, and a killed run resumes after the last complete part.

The footer is a Thrift struct in the compact protocol (Apache Thrift, "Thrift Compact protocol"; field numbers from
Apache Parquet, ``parquet.thrift``). Only offsets, row counts and ordinals are changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from embcompat.errors import FileFormatError

MAGIC: Final = b"PAR1"

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12

Struct = dict[int, tuple[int, Any]]
"""Field number → (Thrift type, value)."""

# parquet.thrift
_NUM_ROWS, _ROW_GROUPS = 3, 4  # FileMetaData
_COLUMNS, _GROUP_OFFSET, _ORDINAL = 1, 5, 7  # RowGroup
_CHUNK_OFFSET, _COLUMN_META, _OFFSET_INDEX, _COLUMN_INDEX = 2, 3, 4, 6  # ColumnChunk
_PAGE_OFFSETS = (9, 10, 11, 14)  # ColumnMetaData: data page, index page, dictionary page, bloom filter
_MAX_ORDINALS = 2**15  # the field has 16 bits


def footer_length(tail: bytes) -> int:
    """Return the length of the footer from the last eight bytes of a Parquet file.

    Raises:
        FileFormatError: If they do not end a Parquet file.

    Example:
        >>> footer_length((300).to_bytes(4, "little") + b"PAR1")
        300
    """
    if len(tail) != 8 or tail[4:] != MAGIC:
        raise FileFormatError(f"a Parquet file must end in {MAGIC!r}. Got {tail[4:]!r}.")
    return int.from_bytes(tail[:4], "little")


def join_footers(parts: Sequence[tuple[bytes, int]]) -> bytes:
    """Join the footers of Parquet files that share a schema and follow each other in one file.

    Args:
        parts: For each file its footer and the offset at which it starts. The first one gives the schema and the
            metadata.

    Returns:
        What to append to the whole: the joint footer, its length and the closing magic.
    """
    structs = [_read_struct(footer, 0)[0] for footer, _ in parts]
    groups: list[Struct] = []
    for struct, (_, offset) in zip(structs, parts, strict=True):
        for group in struct[_ROW_GROUPS][1][1]:
            _shift_group(group, offset)
            group[_ORDINAL] = (_I16, len(groups))
            groups.append(group)
    if len(groups) > _MAX_ORDINALS:
        for group in groups:
            del group[_ORDINAL]
    whole = structs[0]
    whole[_NUM_ROWS] = (_I64, sum(struct[_NUM_ROWS][1] for struct in structs))
    whole[_ROW_GROUPS] = (_LIST, (_STRUCT, groups))
    encoded = _write_struct(whole)
    return encoded + len(encoded).to_bytes(4, "little") + MAGIC


def _shift_group(group: Struct, offset: int) -> None:
    _shift(group, offset, _GROUP_OFFSET)
    for chunk in group[_COLUMNS][1][1]:
        _shift(chunk, offset, _CHUNK_OFFSET, _OFFSET_INDEX, _COLUMN_INDEX)
        _shift(chunk[_COLUMN_META][1], offset, *_PAGE_OFFSETS)


def _shift(struct: Struct, offset: int, *fields: int) -> None:
    for field in fields:
        kind, position = struct.get(field, (_I64, 0))
        if position:  # 0 stands for "none": the first four bytes of a file are its magic
            struct[field] = (kind, position + offset)


def _read_struct(data: bytes, position: int) -> tuple[Struct, int]:
    fields: Struct = {}
    number = 0
    while (head := data[position]) != 0:
        position += 1
        kind, step = head & 0x0F, head >> 4
        if step:
            number += step
        else:
            number, position = _read_integer(data, position)
        fields[number], position = _read_field(data, position, kind)
    return fields, position + 1


def _read_field(data: bytes, position: int, kind: int) -> tuple[tuple[int, Any], int]:
    if kind in (_TRUE, _FALSE):
        return (kind, None), position
    value, position = _read_value(data, position, kind)
    return (kind, value), position


def _read_value(data: bytes, position: int, kind: int) -> tuple[Any, int]:
    if kind in (_I16, _I32, _I64):
        return _read_integer(data, position)
    if kind == _BINARY:
        length, position = _read_varint(data, position)
        return data[position : position + length], position + length
    if kind in (_LIST, _SET):
        return _read_list(data, position)
    if kind == _STRUCT:
        return _read_struct(data, position)
    width = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8}.get(kind)
    if width is None:
        raise FileFormatError(f"a Parquet footer holds no field of Thrift type {kind}. The file is damaged.")
    return data[position : position + width], position + width


def _read_list(data: bytes, position: int) -> tuple[tuple[int, list[Any]], int]:
    size, kind = data[position] >> 4, data[position] & 0x0F
    position += 1
    if size == 15:
        size, position = _read_varint(data, position)
    values = []
    for _ in range(size):
        value, position = _read_value(data, position, kind)
        values.append(value)
    return (kind, values), position


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7


def _read_integer(data: bytes, position: int) -> tuple[int, int]:
    value, position = _read_varint(data, position)
    return (value >> 1) ^ -(value & 1), position  # zigzag


def _write_struct(fields: Struct) -> bytes:
    out = bytearray()
    last = 0
    for number, (kind, value) in sorted(fields.items()):
        step = number - last
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _write_integer(number)
        last = number
        if kind not in (_TRUE, _FALSE):
            out += _write_value(kind, value)
    return bytes(out) + b"\0"


def _write_value(kind: int, value: Any) -> bytes:
    if kind in (_I16, _I32, _I64):
        return _write_integer(value)
    if kind == _BINARY:
        return _write_varint(len(value)) + bytes(value)
    if kind in (_LIST, _SET):
        element, values = value
        size = len(values)
        head = bytes([size << 4 | element]) if size < 15 else bytes([0xF0 | element]) + _write_varint(size)
        return head + b"".join(_write_value(element, entry) for entry in values)
    if kind == _STRUCT:
        return _write_struct(value)
    return bytes(value)


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _write_integer(value: int) -> bytes:
    return _write_varint(value << 1 if value >= 0 else (-value << 1) - 1)
