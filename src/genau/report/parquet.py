"""The run as a Parquet table: one row per picture, defects as a nested list, for data frames and SQL engines."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from genau.errors import UsageError
from genau.report.files import Place, replacing
from genau.report.table import whole_rows
from genau.results import INSPECTION_SCHEMA, Inspection

PARQUET = "results.parquet"
_GROUP_ROWS = 1000  # rows in memory at once


class ParquetFile:
    """Writes `results.parquet` from `results.jsonl` when the run ends, some rows at a time.

    Columns are those of the JSON schema; `types`, `analysis` and `timing_ms` are maps; `mask` and `overlay` are paths
    relative to the run's folder. Raises `UsageError` where pyarrow is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._arrow = folder, require_arrow()

    def add(self, result: Inspection, place: Place | None) -> None:
        """Do nothing: the row is in `results.jsonl`."""

    def close(self, jsonl: Path, places: Sequence[Place | None]) -> None:
        """Write the table. Raises `OSError`."""
        schema = arrow_schema(self._arrow)
        parquet = import_module("pyarrow.parquet")
        with (
            replacing(self._folder / PARQUET) as temporary,
            jsonl.open(encoding="utf-8") as lines,
            temporary.open("wb") as stream,
            parquet.ParquetWriter(stream, schema) as table,
        ):
            group: list[dict[str, Any]] = []
            for row, place in zip(whole_rows(lines), places, strict=False):
                group.append(row | {"mask": place and place.mask, "overlay": place and place.overlay})
                if len(group) == _GROUP_ROWS:
                    table.write_table(self._table(group, schema))
                    group = []
            table.write_table(self._table(group, schema))

    def _table(self, rows: Sequence[Mapping[str, Any]], schema: Any) -> Any:  # noqa: ANN401 - pyarrow's
        maps = [field.name for field in schema if self._arrow.types.is_map(field.type)]
        valid = [_valid(row) for row in rows]
        for row in valid:  # Arrow takes a map as pairs
            row |= {name: list(row[name].items()) for name in maps if row.get(name) is not None}
        return self._arrow.Table.from_pylist(valid, schema)


def arrow_schema(arrow: Any) -> Any:  # noqa: ANN401 - pyarrow's
    """Return the Arrow schema that follows from the JSON schema of an inspection, and the two columns of files."""
    fields = [(name, _arrow_type(arrow, spec)) for name, spec in INSPECTION_SCHEMA["properties"].items()]
    return arrow.schema([*fields, ("mask", arrow.string()), ("overlay", arrow.string())])


def _arrow_type(arrow: Any, spec: Mapping[str, Any]) -> Any:  # noqa: ANN401 - pyarrow's
    """Return the Arrow type of one piece of a JSON schema."""
    kind = spec.get("type", "string")  # a constant or a choice of words
    kinds = {kind} if isinstance(kind, str) else set(kind) - {"null"}
    if kinds == {"object"} and "properties" in spec:
        return arrow.struct([(name, _arrow_type(arrow, inner)) for name, inner in spec["properties"].items()])
    if kinds == {"object"}:
        return arrow.map_(arrow.string(), _arrow_type(arrow, spec["additionalProperties"]))
    if kinds == {"array"}:
        return arrow.list_(_arrow_type(arrow, spec["items"]))
    return {"number": arrow.float64(), "integer": arrow.int64(), "boolean": arrow.bool_()}.get(
        kinds.pop(), arrow.string()
    )


def _valid(value: Any) -> Any:  # noqa: ANN401 - any piece of JSON
    """Return JSON with text that is UTF-8 also where a file name is none."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, list):
        return [_valid(item) for item in value]
    if isinstance(value, dict):
        return {key: _valid(item) for key, item in value.items()}
    return value


def require_arrow() -> Any:  # noqa: ANN401 - an optional library
    """Return pyarrow, or raise a `UsageError` that says how to install it."""
    try:
        return import_module("pyarrow")
    except ImportError as error:
        raise UsageError(
            'The format parquet needs the library pyarrow. Install it with: pip install "genau[parquet]", '
            "or leave the format out: results.jsonl and results.csv are always written."
        ) from error
