"""Where a model's data come from: four kinds of sources, each a set of Power Query (M) expressions."""

from __future__ import annotations

from dataclasses import dataclass, field

from exports.powerbi.model import ModelTable

_M_TYPES = {"int64": "Int64.Type", "decimal": "Currency.Type", "double": "type number", "string": "type text",
            "dateTime": "type datetime"}  # fmt: skip
# What grows with the events and is settled after some weeks; everything else is read whole at every refresh.
INCREMENTAL = ("fact_session", "fact_sales", "fact_product_day", "fact_session_prediction")
KEPT_YEARS, REFRESHED_DAYS = 5, 45

_FILES = """\
let
	Listed = Folder.Files(DataFolder),
	Keyed = Table.AddColumn(Listed, "Key", each Text.Combine(List.LastN(Text.Split(Text.Replace([Folder Path] & [Name], "\\", "/"), "/"), 3), "/"), type text)
in
	Table.SelectColumns(Keyed, {"Key", "Name", "Content"})"""
_MANIFEST = """\
let
	Found = Table.SelectRows(PublishedFiles, each [Name] = "current.json"),
	Read = if Table.IsEmpty(Found)
		then error Error.Record("DataFolder", "There is no current.json in " & DataFolder & ". Set the parameter DataFolder to the folder exports of the home.")
		else Json.Document(Found{0}[Content])
in
	Read"""
_FROM_FILES = """\
(table as text, columns as list) as table =>
let
	Wanted = List.Buffer(List.Transform(Record.Field(Manifest[tables], table)[files], each [path])),
	Found = Table.SelectRows(PublishedFiles, each List.Contains(Wanted, [Key])),
	Whole = if Table.RowCount(Found) = List.Count(Wanted)
		then List.Transform(Found[Content], each Table.SelectColumns(Parquet.Document(_), columns))
		else error Error.Record("Snapshot", "A file of the table " & table & " is missing. Refresh again; if it stays, run behavior verify."),
	Rows = if List.IsEmpty(Whole) then #table(columns, {}) else Table.Combine(Whole)
in
	Rows"""
_FROM_DATABASE = """\
(table as text, columns as list) as table =>
let
	Source = CALL,
	Rows = Source{[Schema = Schema, Item = table]}[Data]
in
	Table.SelectColumns(Rows, columns)"""
_FROM_ODBC = """\
(table as text, columns as list) as table =>
let
	Source = Odbc.DataSource("dsn=" & Dsn, [HierarchicalNavigation = true]),
	Catalog = Source{[Name = Database, Kind = "Database"]}[Data],
	Tables = Catalog{[Name = Schema, Kind = "Schema"]}[Data],
	Rows = Table.SelectRows(Tables, each [Name] = table){0}[Data]
in
	Table.SelectColumns(Rows, columns)"""


@dataclass(frozen=True)
class Expression:
    """A named M expression; ``type`` is that of a parameter, else empty."""

    name: str
    m: str
    description: str
    type: str = ""


@dataclass(frozen=True)
class Source:
    """A kind of source with the values of its parameters."""

    kind: str
    parameters: dict[str, tuple[str, str]] = field(default_factory=dict)
    functions: tuple[Expression, ...] = ()
    is_database: bool = False

    @property
    def expressions(self) -> list[Expression]:
        """Parameters, then what uses them."""
        told = [Expression(n, _text(v), d, "Text") for n, (v, d) in self.parameters.items()]
        if self.is_database:
            told += [Expression(n, f"#datetime({y}, 1, 1, 0, 0, 0)", f"{w} that a refresh reads; Power BI sets it.",
                                "DateTime")
                     for n, y, w in (("RangeStart", 2000, "First day"), ("RangeEnd", 2100, "Day after the last"))]  # fmt: skip
        return [*told, *self.functions]

    def is_incremental(self, table: ModelTable) -> bool:
        """Whether a refresh reads only the newest days of a table."""
        return self.is_database and table.source in INCREMENTAL

    def partition(self, table: ModelTable) -> str:
        """The M expression that reads a table with the model's types."""
        names = ", ".join(f'"{c.source}"' for c in table.columns)
        types = ", ".join(f'{{"{c.source}", {_m_type(c.type, c.format)}}}' for c in table.columns)
        lines, last = [f'Source = Published("{table.source}", {{{names}}})'], "Source"
        if self.is_incremental(table):
            lines += [
                "First = Date.Year(RangeStart) * 10000 + Date.Month(RangeStart) * 100 + Date.Day(RangeStart)",
                "Until = Date.Year(RangeEnd) * 10000 + Date.Month(RangeEnd) * 100 + Date.Day(RangeEnd)",
                "Chosen = Table.SelectRows(Source, each [date_key] >= First and [date_key] < Until)",
            ]
            last = "Chosen"
        lines.append(f"Typed = Table.TransformColumnTypes({last}, {{{types}}})")
        body = ",\n".join(f"\t{line}" for line in lines)
        return f"let\n{body}\nin\n\tTyped"


def _m_type(type_: str, shown: str) -> str:
    return "type date" if shown == "yyyy-mm-dd" else _M_TYPES[type_]


def _text(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def parquet(folder: str) -> Source:
    """The published Parquet files of a folder ``exports``."""
    return Source("parquet", {"DataFolder": (folder, "The folder exports of the home, as this machine sees it.")}, (
        Expression("PublishedFiles", _FILES, "Every file of the folder with its place in it."),
        Expression("Manifest", _MANIFEST, "What is published: current.json."),
        Expression("Published", _FROM_FILES, "Rows of a table: of the files that the manifest names, and no others."),
    ))  # fmt: skip


_PUBLISHED = "Rows of a published table."


def _database(kind: str, call: str, server: str, database: str, schema: str) -> Source:
    parameters = {
        "Server": (server, "Server, with its port if it is not the usual one."),
        "Database": (database, "Database."),
        "Schema": (schema, "Schema that behavior publish fills."),
    }
    made = Expression("Published", _FROM_DATABASE.replace("CALL", call), _PUBLISHED)
    return Source(kind, parameters, (made,), is_database=True)


def postgresql(server: str, database: str, schema: str) -> Source:
    """A PostgreSQL database that ``behavior publish`` fills; Power BI brings the driver."""
    return _database("postgresql", "PostgreSQL.Database(Server, Database)", server, database, schema)


def sqlserver(server: str, database: str, schema: str) -> Source:
    """A SQL Server database that ``behavior publish`` fills."""
    return _database("sqlserver", "Sql.Database(Server, Database)", server, database, schema)


def duckdb(dsn: str, database: str, schema: str) -> Source:
    """The published DuckDB file through its ODBC driver."""
    parameters = {
        "Dsn": (dsn, "Name of the ODBC data source that opens behavior.duckdb read-only."),
        "Database": (database, "The file's name without .duckdb."),
        "Schema": (schema, "Schema within it."),
    }
    return Source("duckdb", parameters, (Expression("Published", _FROM_ODBC, _PUBLISHED),), is_database=True)
