"""Content hashes of published tables: the same rows give the same hash, in whatever order and files they lie."""

from __future__ import annotations

import duckdb

MODULUS = 2**64


def row_hash_sql(columns: list[str]) -> str:
    """SQL for a number per row from all of its values; NULL differs from every text."""
    texts = ", ".join(f'coalesce(CAST("{c}" AS VARCHAR), chr(1))' for c in columns)
    return f"md5_number_lower(concat_ws(chr(31), {texts}))"


def file_hashes(con: duckdb.DuckDBPyConnection, paths: list[str], columns: list[str]) -> dict[str, int]:
    """By path, the sum of the row hashes modulo 2**64. Sums can be added, so a table's hash is its files' sum."""
    if not paths:
        return {}
    names = ", ".join("'" + p.replace("'", "''") + "'" for p in paths)
    rows = con.execute(
        f"SELECT filename, sum({row_hash_sql(columns)}::HUGEINT) % {MODULUS} "
        f"FROM read_parquet([{names}], filename = true) GROUP BY filename"
    ).fetchall()
    found = dict.fromkeys(paths, 0)
    found.update({str(path): int(total) for path, total in rows})
    return found
