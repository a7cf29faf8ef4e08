"""What lists and reports group by and choose by: names of a job's values, as SQL over `wanted AS w`, `attempts AS a`.

A name is the job's own (`OWN`) or that of a param, a variable or a tag. A bare one means the first of these that a job
has; `param.mode`, `var.language`, `tag.client` say which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from batcher.ledger.reader import LedgerReader

from .sql import LATEST

if TYPE_CHECKING:
    from batcher.jobs import ParamValue

#: By name.
OWN: Mapping[str, str] = {
    "campaign": "w.campaign",
    "day": "coalesce(a.day, ledger_day(w.updated_at))",
    "model": "w.model",
    "prompt": "w.name",
    "name": "w.name",
    "take": "w.take",
    "status": "w.status",
    "reference": "w.reference",
    "error_code": "coalesce(w.error_code, a.error_code)",
}
_PARAM, _VAR, _TAG = "param", "var", "tag"
#: In the order in which a bare name is looked for. What was bought had its params written down, whatever the catalogue
#: says today.
KINDS: Mapping[str, str] = {_PARAM: "coalesce(a.params, w.params)", _VAR: "w.vars", _TAG: "w.tags"}
# How many values of a name are looked at for one that was meant.
_MANY = 1_000


class Selector(NamedTuple):
    """A value of a job as SQL, with the values of its question marks."""

    name: str
    sql: str
    values: tuple[Any, ...] = ()


class Condition(NamedTuple):
    """Jobs whose value fits a glob."""

    selector: Selector
    glob: str

    @property
    def text(self) -> str:
        """As it was typed."""
        return f"{self.selector.name}={self.glob}"


def own(name: str) -> Selector:
    """The job's own value of that name."""
    return Selector(name, OWN[name])


def kept(name: str, keys: Mapping[str, str], defaults: Mapping[str, ParamValue]) -> Selector:
    """The first value that a job has under a key of these kinds; `defaults` has that of a param by model."""
    parts, values = list[str](), list[Any]()
    for kind, key in keys.items():
        sql = _PLAIN if kind == _PARAM else _TYPED
        parts.append(sql.format(column=KINDS[kind]))
        values += [f'$."{key}"'] * sql.count("?")
        if kind == _PARAM and defaults:
            parts.append(f"CASE w.model{' WHEN ? THEN ?' * len(defaults)} END")
            values += [part for model, value in defaults.items() for part in (model, _shown(value))]
    return Selector(name, f"coalesce({', '.join(parts)}, NULL)", tuple(values))


# What an object of JSON holds under a key: a truth value as it is typed,
_FOUND = "json_extract({column}, ?)"
_TRUTH = "CASE json_type({column}, ?) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
_PLAIN = f"{_TRUTH} ELSE {_FOUND} END"
# and of variables and tags a whole number as one, for a row of a CSV holds it as a text.
_NUMBER = f"CAST({_FOUND} AS INTEGER)"
_TYPED = f"{_TRUTH} WHEN 'text' THEN iif(CAST({_NUMBER} AS TEXT) = {_FOUND}, {_NUMBER}, {_FOUND}) ELSE {_FOUND} END"


def _shown(value: ParamValue) -> ParamValue:
    return json.dumps(value) if isinstance(value, bool) else value


def favourite(ids: Sequence[str]) -> Condition:
    """Jobs that somebody marked, by their ids."""
    listed = Selector("mark", "iif(w.id IN (SELECT e.value FROM json_each(?) AS e), 'favourite', NULL)")
    return Condition(listed._replace(values=(json.dumps(ids),)), "favourite")


def keys(read: LedgerReader) -> dict[str, list[str]]:
    """The names that jobs set, by kind, in the order in which they came."""
    columns = {_PARAM: "params", _VAR: "vars", _TAG: "tags"}
    found = {
        kind: read.rows(f"SELECT DISTINCT e.key FROM wanted AS w, json_each(w.{column}) AS e")
        for kind, column in columns.items()
    }
    # a path of JSON has no way to write a quotation mark
    return {kind: [row[0] for row in rows if '"' not in row[0]] for kind, rows in found.items()}


def meeting(conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    """The conditions as SQL, each behind an AND, with the values of their question marks."""
    sql = "".join(f" AND ledger_like({each.selector.sql}, ?)" for each in conditions)
    return sql, [value for each in conditions for value in (*each.selector.values, each.glob)]


def jobs_meeting(conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    """A query for the ids of the jobs that fit, by their latest attempt, with the values of its question marks."""
    sql, values = meeting(conditions)
    return f"SELECT w.id {LATEST} WHERE 1{sql}", values


def is_met(read: LedgerReader, condition: Condition) -> bool:
    """Whether any job of the ledger fits."""
    sql, values = jobs_meeting([condition])
    return read.row(f"{sql} LIMIT 1", values) is not None


def some_values(read: LedgerReader, selector: Selector) -> list[str]:
    """Values that jobs have, as texts."""
    sql = f"SELECT DISTINCT {selector.sql} AS value {LATEST} WHERE value IS NOT NULL LIMIT {_MANY}"
    return [str(row[0]) for row in read.rows(sql, selector.values)]
