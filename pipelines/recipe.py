"""Recipe: what to build, as a value. A recipe is a Python function from a data directory to one of these.

def alignment(data: str) -> Recipe:
    images = branch("scene_image", ParquetSource(path=f"{data}/image_text"), AspectRatio(high=3.0), Words(low=3), ExactDedup())
    return Recipe(stage="stage2", branches=(images,))
"""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from curation.operator import Operator, RecipeError, Select, Source, branches_of, jsonable
from curation.sources.files import FileSource
from curation.uris import is_remote
from model.geometry import VisualRules
from model.stages import STAGE_RULES

STAGES = tuple(STAGE_RULES)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a node runs: resources per worker, of which a cluster gives as many as it has. Not part of its identity.

    cpus: 1 unless an operator uses threads of its own. gpus: a share of one, so that several workers may live on it. memory: bytes of
    the node's, 0 = what a worker takes without weights.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0


ONE_CPU = Placement()


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operator and its placement."""

    operator: Operator
    placement: Placement = ONE_CPU


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One corpus and what happens to it, in order."""

    name: str
    source: Source
    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Shares of the branches.

    weights: relative, per branch or group; unnamed branches are an error. groups: a group's branches with their relative weights in it: a
    category of corpora. A branch that cannot fill its share of the group leaves it to the others, so that only a whole group that is
    scarce sets the scale. unit: what a share counts, samples or tokens (language tokens
    plus visual tokens after pruning). budget: how much in that unit; None = as much as the scarcest branch allows without repeating
    a sample. What goes over is dropped as `Mixture.quota`, chosen by (seed, id), so that adding data moves few samples.
    """

    weights: Mapping[str, float]
    unit: Literal["samples", "tokens"] = "samples"
    budget: int | None = None
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def members(self) -> dict[str, Mapping[str, float]]:
        """Branches of each weighted name; a branch without a group is one of its own."""
        return {name: self.groups.get(name, {name: 1.0}) for name in self.weights}

    def shares(self) -> dict[str, float]:
        """What is asked for, per branch; sums to 1."""
        total = sum(self.weights.values())
        return {
            branch: self.weights[name] / total * weight / sum(members.values())
            for name, members in self.members().items()
            for branch, weight in members.items()
        }


@dataclass(frozen=True, kw_only=True)
class ShardLimits:
    """A shard is closed before it would exceed any of these; one sample always fits."""

    samples: int = 4096
    bytes: int = 512 << 20
    tokens: int = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to build.

    stage: the training stage, which fixes the pixel rules that tokens are counted with, unless `rules` says otherwise.
    mixture: None keeps everything. tokenizer: "" is the one shipped with the project, else a tokenizer.json or a model directory.
    missing: corpora that the recipe would have, and why they cannot be read; a run wants to be told that it may go without them.
    max_failures: share of a node's samples in one part that may fail before the run stops (at least 16 may, so that small parts
    do not stop a run for one bad file).
    """

    stage: str
    branches: tuple[Branch, ...]
    mixture: Mixture | None = None
    shards: ShardLimits = ShardLimits()
    seed: int = 0
    rules: VisualRules | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    tokenizer: str = ""
    max_failures: float = 0.01

    def __post_init__(self) -> None:
        if self.stage not in STAGE_RULES:
            raise RecipeError(f"stage {self.stage!r} is not one of {', '.join(STAGES)}")
        names = [b.name for b in self.branches]
        if len(set(names)) != len(names) or not names:
            raise RecipeError(f"{self.stage}: branches {names} must be one or more with different names")
        self._check_sources()
        if self.mixture:
            self._check_mixture(self.mixture, names)

    def _check_sources(self) -> None:
        # Ids cover the source's title and the place in it: under one title, equal files of two folders would give equal ids.
        branches: dict[str, str] = {}
        for b in self.branches:
            if isinstance(b.source, FileSource):
                other = branches.setdefault(b.source.origin_source, b.name)
                if other != b.name:
                    raise RecipeError(
                        f"{self.stage}: the sources of {other} and {b.name} are both called {b.source.origin_source!r}, "
                        f"so their samples could share ids: give one of them another title, as title={b.name!r}"
                    )

    def _check_mixture(self, mixture: Mixture, names: list[str]) -> None:
        weighed = [branch for members in mixture.members().values() for branch in members]
        if missing := sorted(set(names) ^ set(weighed) | {name for name in weighed if weighed.count(name) > 1}):
            raise RecipeError(
                f"{self.stage}: mixture weighs {sorted(weighed)} but the branches are {sorted(names)}: "
                f"name every branch once ({', '.join(missing)})"
            )
        if min([*mixture.weights.values(), *(w for group in mixture.groups.values() for w in group.values())]) <= 0:
            raise RecipeError(
                f"{self.stage}: mixture weights must be positive: leave a branch out instead of weighing it 0"
            )

    @property
    def pixel_rules(self) -> VisualRules:
        """The rules that visual tokens are counted with."""
        return self.rules or STAGE_RULES[self.stage]

    def resolved(self) -> dict[str, Any]:
        """The recipe as JSON: operators with all settings; without placement, which changes nothing that is built."""
        branches = [
            {"name": b.name, "source": jsonable(b.source), "operators": [jsonable(n.operator) for n in b.nodes]}
            for b in self.branches
        ]
        fields = {f.name: jsonable(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "branches"}
        if not self.missing:
            del fields["missing"]
        return fields | {"branches": branches, "rules": jsonable(self.pixel_rules)}


def branch(name: str, source: Source, *operators: Operator | Iterable[Node]) -> Branch:
    """A branch from a source and operators; `on(...)` groups and tuples of operators are taken apart.

    Raises:
        RecipeError: something is not an operator, a Source stands in the middle, or two nodes have the same name.
    """
    if not isinstance(source, Source):
        raise RecipeError(f"{name}: a branch starts with a Source, not {type(source).__name__}")
    nodes = tuple(_nodes(name, operators))
    names = [node.operator.name for node in nodes]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise RecipeError(
            f"{name}: {', '.join(twice)} stands twice: scores and reasons would mix; merge them or subclass one"
        )
    return Branch(name=name, source=source, nodes=nodes)


def _nodes(branch_name: str, operators: Iterable[Any]) -> Iterable[Node]:
    for item in operators:
        if isinstance(item, Node):
            yield item
        elif isinstance(item, Source):
            raise RecipeError(f"{branch_name}: {item.name} is a Source: it can only start a branch")
        elif isinstance(item, Operator):
            yield Node(operator=item)
        elif isinstance(item, tuple | list):
            yield from _nodes(branch_name, item)
        else:
            raise RecipeError(f"{branch_name}: {item!r} is not an operator")


def on(placement: Placement, *operators: Operator) -> tuple[Node, ...]:
    """Operators with a placement: `on(gpu(0.25), Aesthetic(low=4.5))`."""
    return tuple(Node(operator=operator, placement=placement) for operator in operators)


def gpu(share: float, *, cpus: float = 1.0, memory: int = 0) -> Placement:
    """A share of one GPU."""
    return Placement(cpus=cpus, gpus=share, memory=memory)


def load_recipe(name: str, data: str) -> Recipe:
    """The recipe called `stage1` ... `stage4`, `demo`, or `path/to/file.py:function`, over the data directory.

    Raises:
        RecipeError: no such recipe, or its function does not return a Recipe.
    """
    function = _recipe_function(name)
    if not is_remote(data) and not Path(data).is_dir():
        raise RecipeError(f"--data {data}: no such directory")
    recipe = function(data)
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{name}: returned {type(recipe).__name__}, wanted a Recipe")
    return recipe


def _recipe_function(name: str) -> Callable[[str], Recipe]:
    if ":" not in name:
        from pipelines.recipes import RECIPES

        if name not in RECIPES:
            raise RecipeError(f"recipe {name!r}: not one of {', '.join(RECIPES)}, and not path/to/file.py:function")
        return RECIPES[name]
    path, _, attribute = name.rpartition(":")
    if not Path(path).is_file():
        raise RecipeError(f"recipe {name!r}: no file {path}")
    module = load_module(path)
    if not hasattr(module, attribute):
        raise RecipeError(f"recipe {name!r}: {path} has no function {attribute}")
    return getattr(module, attribute)


def load_module(path: str) -> ModuleType:
    """Import a recipe file under a name that is the same in every process, so that operators defined in it unpickle in workers.

    Raises:
        RecipeError: it is not a Python file.
    """
    name = f"vl3_recipe_{Path(path).stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"recipe file {path} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segments(branch: Branch) -> tuple[list[list[Operator]], list[Select]]:
    """A branch's operators cut at its Selects."""
    return branches_of(node.operator for node in branch.nodes)


def placements(branch: Branch) -> list[Placement]:
    """What a worker of each of these segments needs: the most that any of its operators asks for."""
    needed = [Placement()]
    for node in branch.nodes:
        if isinstance(node.operator, Select):
            needed.append(Placement())
        else:
            least, own = needed[-1], node.placement
            needed[-1] = Placement(
                cpus=max(least.cpus, own.cpus), gpus=max(least.gpus, own.gpus), memory=max(least.memory, own.memory)
            )
    return needed
