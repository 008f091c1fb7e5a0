"""Plan: a recipe over real sources, with an id on every node.

    id = digest(operator settings and VERSION, the ids above it, the source's fingerprint)

so that changing one node renames it and what lies below it, and nothing else. A branch is cut at its Selects into segments; a segment
is one pass over a part:

    source -> [segment 0: filters, transforms] -> Select -> [segment 1] -> Select -> ... -> mixture -> settle -> shards
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

from curation.neural.encoder import EncoderSpec
from curation.operator import (
    Filter,
    Operator,
    Part,
    PartLimits,
    RecipeError,
    Select,
    Source,
    Transform,
    canonical,
    digest,
)
from curation.sample import BadSample, Sample
from curation.tokens import load_tokenizer
from curation.uris import stat_uri
from pipelines.recipe import ONE_CPU, Branch, Placement, Recipe, placements, segments


@dataclass(frozen=True, kw_only=True)
class SegmentPlan:
    """One pass over a branch's parts.

    id names its output; measures: per operator, the identity of its numbers (bounds left out), so that they are found again when only
    bounds changed; counts: whether this pass also counts tokens (the last pass that looks at samples); select: the barrier after it;
    placement: what a worker of this pass needs; before_gpu: how many operators come before the first on a GPU, None without one;
    relation_id names what the Select decides by, bounds left out, where that is stored.
    """

    id: str
    operators: tuple[Operator, ...]
    measures: tuple[str, ...]
    counts: str
    select: Select | None
    select_id: str
    placement: Placement = ONE_CPU
    before_gpu: int | None = None
    relation_id: str = ""

    @property
    def short_sides(self) -> frozenset[int]:
        """At which sizes this pass looks at pictures (`Operator.short_side`)."""
        asked = (operator.short_side for operator in (*self.operators, *([self.select] if self.select else ())))
        return frozenset(side for side in asked if side is not None)

    @property
    def group(self) -> int:
        """Pictures per inference of the encoder that takes most of them at once, 1 without any."""
        return max((encoder.batch for encoder in _encoders((*self.operators, self.select))), default=1)

    @property
    def empty(self) -> bool:
        """Nothing to do: the branch ends with its Select."""
        return not self.operators and not self.counts and self.select is None


def _encoders(setting: Any) -> Iterator[EncoderSpec]:
    """The encoders among an operator's settings, however deep they lie."""
    if isinstance(setting, EncoderSpec):
        yield setting
    elif is_dataclass(setting) and not isinstance(setting, type):
        yield from _encoders(tuple(getattr(setting, field.name) for field in fields(setting)))
    elif isinstance(setting, list | tuple):
        for item in setting:
            yield from _encoders(item)


@dataclass(frozen=True, kw_only=True)
class BranchPlan:
    """A branch with ids and parts."""

    name: str
    source: Source
    source_id: str
    parts: tuple[Part, ...]
    segments: tuple[SegmentPlan, ...]

    @property
    def id(self) -> str:
        """Identity of everything that happens to this branch before the mixture."""
        last = self.segments[-1]
        return digest(last.id, last.select_id, self.source_id)

    @cached_property
    def part_names(self) -> tuple[str, ...]:
        """Names of the parts' commits: their numbers, and a digest of their ranges so that other part limits never mix in."""
        digests = (blake2b(f"[{_part_json(part)}]".encode(), digest_size=8).hexdigest() for part in self.parts)
        return tuple(f"{index:06d}-{found[:8]}" for index, found in enumerate(digests))

    def node_names(self) -> list[str]:
        """Names of everything a sample passes, in order: the source, operators, Selects, the token count."""
        names = [self.source.name]
        for segment in self.segments:
            names += [operator.name for operator in segment.operators]
            names += ["Count"] if segment.counts else []
            names += [segment.select.name] if segment.select else []
        return names


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will run.

    select_parts: over more parts, a Select that can is taken in partitions; a run gathers so many. select_keys: how many keys one task
    compares. measures: a directory where several datasets of the same corpora keep what they measured, so that each is measured
    once (None: OUT/work). Datasets do not depend on them.
    """

    recipe: Recipe
    out: Path
    data: str
    limits: PartLimits
    branches: tuple[BranchPlan, ...]
    sample_seconds: float = 60.0
    select_parts: int = 64
    select_keys: int = 4 << 20
    measures: Path | None = None

    @cached_property
    def id(self) -> str:
        """Identity of the dataset: recipe and sources. Parts' sizes change it too, since the ledger names parts."""
        found = blake2b(digest_size=8)
        for piece in self._identity():
            found.update(piece.encode())
        return found.hexdigest()

    def _identity(self) -> Iterator[str]:
        """JSON of the recipe, the branches' ids and their parts, in pieces: there may be a million parts."""
        yield f"[{canonical(self.recipe.resolved())},{canonical([b.id for b in self.branches])},["
        for number, branch in enumerate(self.branches):
            yield ",[" if number else "["
            for place, part in enumerate(branch.parts):
                yield f",{_part_json(part)}" if place else _part_json(part)
            yield "]"
        yield "]]"

    def portable_recipe(self) -> dict[str, Any]:
        """The resolved recipe with the data directory written as {data}: the same wherever the corpora lie."""
        return _without_data(self.recipe.resolved(), self.data.rstrip("/"))

    def recipe_digest(self) -> str:
        """Identity of what was asked for, wherever the data lie."""
        return digest(self.portable_recipe())

    def branch(self, name: str) -> BranchPlan:
        """The branch of that name."""
        return next(b for b in self.branches if b.name == name)

    def counted_with(self) -> dict[str, Any]:
        """Tokenizer and pixel rules of every token count."""
        rules = self.recipe.pixel_rules
        return {
            "tokenizer": load_tokenizer(self.recipe.tokenizer).digest(),
            "rules": self.recipe.resolved()["rules"],
            "digest": rules.digest(),
        }


def _part_json(part: Part) -> str:
    """`canonical(part)`, ten times as fast."""
    uri = encode_basestring(part.uri)
    return f'{{"begin":{part.begin},"bytes":{part.bytes},"end":{part.end},"rows":{part.rows},"uri":{uri}}}'


def _without_data(value: Any, data: str) -> Any:
    """JSON with every path at or below `data` rewritten; a data directory called "text" must not be found in other settings."""
    if isinstance(value, dict):
        return {key: _without_data(item, data) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_data(item, data) for item in value]
    below = data and isinstance(value, str) and (value.startswith(f"{data}/") or ("/" in data and value == data))
    return "{data}" + value[len(data) :] if below else value


def make_plan(
    recipe: Recipe,
    out: Path,
    *,
    data: str = "",
    limits: PartLimits = PartLimits(),
    limit: int | None = None,
    sample_seconds: float = 60.0,
    measures: Path | None = None,
) -> Plan:
    """Resolve a recipe: fingerprint sources, cut them into parts, give ids.

    Args:
        data: the data directory as the recipe's paths spell it, left out of what the manifest records.
        limit: at most this many samples per branch (a dry run on real data).
        sample_seconds: a sample that stands still for longer is taken for hung and quarantined; large media get more.
        measures: see `Plan`.
    """
    counts = digest(recipe.pixel_rules.digest(), load_tokenizer(recipe.tokenizer).digest())
    plans = [_plan_branch(branch, limits, limit, counts) for branch in recipe.branches]
    return Plan(
        recipe=recipe,
        out=out,
        data=data,
        limits=limits,
        branches=tuple(plans),
        sample_seconds=sample_seconds,
        measures=measures,
    )


def _plan_branch(branch: Branch, limits: PartLimits, limit: int | None, counts: str) -> BranchPlan:
    source = branch.source if limit is None else LimitedSource(inner=branch.source, samples=limit)
    parts = tuple(source.parts(limits))
    if not parts:
        raise RecipeError(f"{branch.name}: {branch.source.name} found nothing to read: look at its path")
    source_id = digest(source.settings(), fingerprint(source.files()))
    cut, selects = segments(branch)
    needed, on_gpu = placements(branch), {id(node.operator) for node in branch.nodes if node.placement.gpus}
    # Tokens are counted in the last pass that runs anyway, so that a branch that ends with a Select reads no media twice.
    counting = max((i for i, operators in enumerate(cut) if operators), default=0)
    plans, above, content = [], source_id, source_id
    for i, operators in enumerate(cut):
        measures = []
        for operator in operators:
            measures.append(
                digest(operator.measure_settings() if isinstance(operator, Filter) else operator.settings(), content)
            )
            if isinstance(operator, Transform):
                content = measures[-1]
        select = selects[i] if i < len(selects) else None
        counted = digest(counts, content) if i == counting else ""
        signed = select.signature_settings() if select else None
        own = digest([operator.settings() for operator in operators], above, counted, signed)
        above = digest(own, "select", select.settings()) if select else own
        plans.append(
            SegmentPlan(
                id=own,
                operators=tuple(operators),
                measures=tuple(measures),
                counts=counted,
                select=select,
                select_id=above if select else "",
                placement=needed[i],
                before_gpu=next((n for n, operator in enumerate(operators) if id(operator) in on_gpu), None),
                relation_id=digest(own, "relation", select.relation_settings()) if select and select.SCORES else "",
            )
        )
    return BranchPlan(name=branch.name, source=source, source_id=source_id, parts=parts, segments=tuple(plans))


def fingerprint(files: Sequence[str]) -> list[list[Any]]:
    """Name, size and version (time of change, ETag) of every file a source depends on: what a resume must find unchanged."""
    return [[path, *stat_uri(path)] for path in files]


@dataclass(frozen=True, kw_only=True)
class LimitedSource(Source):
    """At most the first `samples` samples of another source: a dry run on real data."""

    inner: Source
    samples: int

    @property
    def name(self) -> str:
        """The inner source's name: a limited run reports like a full one."""
        return self.inner.name

    def files(self) -> Sequence[str]:
        """The inner source's files."""
        return self.inner.files()

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """As many parts as are needed; each carries in `rows` how many of its samples are wanted."""
        wanted, left = [], self.samples
        for part in self.inner.parts(limits):
            if left <= 0:
                break
            take = min(part.rows, left) if part.rows else left
            wanted.append(replace(part, rows=take))
            left -= take
        return wanted

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """The part's first samples."""
        return islice(self.inner.read(part), part.rows)
