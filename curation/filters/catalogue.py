"""Catalogue: every filter there is, and every one that can be made without weights, for `vl3-curate measure` and the operators' page."""

import dataclasses
import typing
from collections.abc import Iterator
from itertools import product
from typing import Any, Literal

from curation import filters
from curation.operator import Filter


def filter_classes() -> list[type[Filter]]:
    """All filters of `curation.filters` by name, those left out that only others are made from."""
    exported = (getattr(filters, name) for name in sorted(filters.__all__))
    return [value for value in exported if isinstance(value, type) and issubclass(value, Filter)]


def filters_without_weights() -> list[Filter]:
    """One of every filter whose settings have defaults or are one of a few words; of those sets of rules name, with their bounds."""
    ruled = {rule.name: rule for rules in (filters.GOPHER, filters.C4, filters.FINEWEB) for rule in rules}
    made = [operator for kind in filter_classes() for operator in _made(kind)]
    return [ruled.get(operator.name, operator) for operator in made]


def _made(kind: type[Filter]) -> Iterator[Filter]:
    choices: dict[str, tuple[Any, ...]] = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            if typing.get_origin(hints[field.name]) is not Literal:
                return  # weights, a model's file
            choices[field.name] = typing.get_args(hints[field.name])
    for values in product(*choices.values()):
        yield kind(**dict(zip(choices, values, strict=True)))
