"""Query: SQL-like conditions on samples, as safe expressions.

polars' own SQL runs subqueries, and those read files (`x IN (SELECT ... FROM read_csv('/etc/passwd'))`). So a condition is first taken
apart here: only the columns at hand, a short list of words and functions, literals and operators go through.
"""

import re
from collections.abc import Sequence

import polars as pl

MAX_LENGTH = 2_000  # characters
MAX_DEPTH = 40  # open parentheses, or NOTs in a row: the SQL parser recurses
WORDS = frozenset({"AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "ILIKE", "BETWEEN", "TRUE", "FALSE"})
FUNCTIONS = frozenset(
    {"ABS", "ROUND", "FLOOR", "CEIL", "LENGTH", "LOWER", "UPPER", "STARTS_WITH", "ENDS_WITH", "COALESCE"}
)
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*')|(?P<quoted>"[^"]+")"""
    r"""|(?P<word>[A-Za-z_][A-Za-z_0-9]*)|(?P<operator><=|>=|<>|!=|==|[<>=+\-*/%(),])"""
)


class QueryError(ValueError):
    """The condition cannot be used; says what is wrong and what is allowed."""


def parse_condition(text: str, columns: Sequence[str]) -> pl.Expr | None:
    """A condition like `Words > 3 AND branch = 'text'`; None when it is empty. Other names of columns go in double quotes.

    Raises:
        QueryError: it is no condition over these columns, or holds something that is not allowed.
    """
    if not text.strip():
        return None
    if len(text) > MAX_LENGTH:
        raise QueryError(f"condition has {len(text):,} characters, limit {MAX_LENGTH:,}: shorten it")
    checked = " ".join(_checked(text, {column.lower(): column for column in columns}))
    try:
        return pl.sql_expr(checked)
    except pl.exceptions.PolarsError as error:
        raise QueryError(
            f"condition is not understood ({str(error).splitlines()[0][:200]}): try Words > 3 AND branch = 'text'"
        ) from None


def _checked(text: str, columns: dict[str, str]) -> list[str]:
    tokens, place, depth = [], 0, 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise QueryError(
                f"character {place + 1}: {text[place]!r} is not allowed: use names, numbers, 'texts', and < <= = != >= > + - * / %"
            )
        place = match.end()
        kind, token = match.lastgroup, match.group()
        if kind == "space":
            continue
        if kind == "word":
            token = _word(token, called=text[place:].lstrip().startswith("("), columns=columns)
        elif kind == "quoted":
            token = _column(token[1:-1], columns)
        depth += (token == "(") + (token == "NOT") - (token == ")")
        if depth > MAX_DEPTH or (token == "-" and tokens[-1:] == ["-"]):  # two of them begin a comment
            raise QueryError(f"character {place}: too deep, or two minus signs: write it more simply")
        tokens.append(token)
    return tokens


def _word(word: str, *, called: bool, columns: dict[str, str]) -> str:
    if word.upper() in WORDS:
        return word.upper()
    if called:
        if word.upper() not in FUNCTIONS:
            raise QueryError(f"function {word} is not allowed: use {', '.join(sorted(FUNCTIONS))}")
        return word.upper()
    return _column(word, columns)


def _column(name: str, columns: dict[str, str]) -> str:
    if name.lower() not in columns:
        raise QueryError(f"no column {name!r}: there are {', '.join(columns.values())}")
    return f'"{columns[name.lower()]}"'
