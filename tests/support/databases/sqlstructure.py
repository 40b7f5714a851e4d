"""What a database's tables are made of, so that two databases can be compared whatever the order of their columns."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any

import psycopg

Structure = dict[str, list[Any]]

COLUMNS = """select table_name, column_name, data_type, is_nullable, column_default
from information_schema.columns where table_schema = current_schema() order by table_name, column_name"""
CONSTRAINTS = """select conrelid::regclass::text, contype, pg_get_constraintdef(oid)
from pg_constraint where connamespace = current_schema()::regnamespace order by 1, 2, 3"""
INDEXES = "select tablename, indexname, indexdef from pg_indexes where schemaname = current_schema() order by 1, 2"


def structure(url: str, service: str) -> Structure:
    """Return columns, constraints and indexes of every table."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            return _sqlite(file)
    with psycopg.connect(url, options=f"-c search_path={service.replace('-', '_')}") as server:
        found = {"columns": COLUMNS, "constraints": CONSTRAINTS, "indexes": INDEXES}
        return {what: server.execute(sql.encode()).fetchall() for what, sql in found.items()}


def _sqlite(file: sqlite3.Connection) -> Structure:
    tables = [name for (name,) in file.execute("select name from sqlite_master where type = 'table' order by name")]
    found: Structure = {"columns": [], "checks": [], "indexes": []}
    for table in tables:
        columns = file.execute('select name, type, "notnull", dflt_value, pk from pragma_table_info(?)', (table,))
        found["columns"] += [(table, *column) for column in sorted(columns, key=str)]
        [(sql,)] = file.execute("select sql from sqlite_master where name = ? and type = 'table'", (table,))
        found["checks"] += [(table, check) for check in sorted(_checks(sql))]
        for name, unique in file.execute('select name, "unique" from pragma_index_list(?) order by name', (table,)):
            of = file.execute("select name from pragma_index_info(?) order by seqno", (name,)).fetchall()
            automatic = name.startswith("sqlite_autoindex")
            found["indexes"].append((table, None if automatic else name, unique, of))
    found["indexes"].sort(key=str)
    return found


def _checks(sql: str) -> list[str]:
    """Return the CHECK constraints of a `create table`, which SQLite keeps nowhere else."""
    plain = re.sub(r"\s+", " ", re.sub(r"--.*", "", sql))
    return [plain[start : _closing(plain, start)] for start in (m.end() for m in re.finditer(r"check \(", plain))]


def _closing(text: str, at: int) -> int:
    depth = 1
    while depth:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at
