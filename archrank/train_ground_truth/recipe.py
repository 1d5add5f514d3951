"""Training recipes: TOML files, validated, with a hash that names the arithmetic they stand for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from archrank.spaces.blox import BloxSpace, blox

# Bumped whenever a change of the code alters the numbers that a recipe yields: it is part of the
# recipe hash, so that a table never mixes networks trained by different arithmetic.
ARITHMETIC = 1

# Strengths of RandAugment: indexes 0 to 30.
RANDAUGMENT_BINS = 31

T = TypeVar("T")


class RecipeError(ValueError):
    """A recipe that cannot be used; one line that names the key, what was got and what was expected."""


@dataclass(frozen=True, kw_only=True)
class SpaceSpec:
    """Which networks: BLOX with these stages, first-stage channels, input pixels and classes."""

    stages: int = 3
    width: int = 32
    image_size: int = 32
    classes: int = 100


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which images: a permutation of the training images by ``RandomState(split_seed)``; its first
    `train` are trained on, its last `val` validate. `pool` x `pool` pixels are averaged into one."""

    train: int = 45_000
    val: int = 5_000
    split_seed: int = 0
    pool: int = 1
    mean: tuple[float, ...] = (0.5070588, 0.4866667, 0.4407843)
    std: tuple[float, ...] = (0.2674510, 0.2564706, 0.2760784)


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """SGD. ``cosine`` falls per epoch from `lr` to 0; ``one-cycle`` rises linearly per step over the
    first `warmup` of training and falls linearly to 0."""

    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    warmup: float = 0.0
    label_smoothing: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How long, and which epoch's weights are tested: the last, or that of best validation accuracy
    (on a tie the later epoch if its loss is not larger)."""

    epochs: int = 200
    batch_size: int = 256
    weights: Literal["last", "best-val"] = "best-val"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


@dataclass(frozen=True, kw_only=True)
class AugmentSpec:
    """Applied in this order: RandAugment (`randaugment_ops` operations for each image, of strength
    `randaugment_magnitude` from 0 to 30), horizontal flip, random crop after zero padding, cutout of one hole."""

    randaugment_ops: int = 0
    randaugment_magnitude: int = 14
    flip: bool = True
    crop_padding: int = 0
    cutout: int = 0


@dataclass(frozen=True, kw_only=True)
class KdSpec:
    """Training with a teacher's logits: weight of the teacher, softmax temperature, and how many of its
    largest probabilities are kept (0: all)."""

    alpha: float = 0.9
    temperature: float = 1.0
    top_k: int = 0


@dataclass(frozen=True, kw_only=True)
class FinetuneSpec:
    """Training on from distilled blocks: `lr` in place of the optimizer's, `epochs` unless the command
    says otherwise."""

    lr: float = 0.01
    epochs: int = 1


@dataclass(frozen=True, kw_only=True)
class DistillSpec:
    """Blockwise distillation: Adam on the NSR between the block's and the teacher's output, its rate
    falling to 0 along a cosine. BatchNorm statistics are re-estimated from `norm_batches` batches."""

    epochs: int = 2
    batch_size: int = 128
    lr: float = 0.01
    norm_batches: int = 10


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training result besides architecture, seed and images."""

    name: str
    description: str = ""
    space: SpaceSpec = field(default_factory=SpaceSpec)
    data: DataSpec = field(default_factory=DataSpec)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    training: TrainSpec = field(default_factory=TrainSpec)
    augment: AugmentSpec = field(default_factory=AugmentSpec)
    distill: DistillSpec = field(default_factory=DistillSpec)
    kd: KdSpec = field(default_factory=KdSpec)
    finetune: FinetuneSpec = field(default_factory=FinetuneSpec)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def hash(self) -> str:
        """12 hex digits over every field that alters normally trained networks' numbers, and `ARITHMETIC`.

        What alters other variants only, ``[kd]`` and ``[finetune]``, is compared by `Store.create`.
        """
        return self._hash({"name", "description", "distill", "kd", "finetune"})

    @property
    def distill_hash(self) -> str:
        """As `hash`, over everything that alters distilled blocks."""
        precision = self.training.precision
        also = {} if precision == "fp32" else {"precision": precision}
        return self._hash({"name", "description", "optimizer", "training", "kd", "finetune"}, **also)

    def _hash(self, leave_out: set[str], **also: str) -> str:
        # Only what differs from the defaults counts, so that a key added later (its default keeps
        # today's behaviour) leaves the hashes of published tables alone.
        defaults = Recipe(name="").to_dict()
        what = {
            part: {k: v for k, v in values.items() if v != defaults[part][k]}
            for part, values in self.to_dict().items()
            if part not in leave_out
        }
        text = json.dumps({"arithmetic": ARITHMETIC, **what, **also}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the shape of the TOML file."""
        return dataclasses.asdict(self)

    def build_space(self) -> BloxSpace:
        """The search space that the recipe trains."""
        s = self.space
        return blox(stages=s.stages, width=s.width, image_size=s.image_size, classes=s.classes)


def _check(recipe: Recipe) -> None:
    d, t, o, a, x = recipe.data, recipe.training, recipe.optimizer, recipe.augment, recipe.distill
    k, f = recipe.kd, recipe.finetune
    rules = [
        ("data.train", d.train >= 1, d.train, "at least 1"),
        ("data.val", d.val >= 1, d.val, "at least 1"),
        ("data.pool", d.pool >= 1, d.pool, "at least 1"),
        ("data.split_seed", 0 <= d.split_seed < 2**32, d.split_seed, "0 to 4294967295, as numpy's RandomState takes"),
        ("data.mean", len(d.mean) == 3, d.mean, "3 values, one per colour"),
        ("data.std", len(d.std) == 3 and min(d.std) > 0, d.std, "3 values above 0"),
        ("optimizer.lr", o.lr > 0, o.lr, "above 0"),
        ("optimizer.momentum", 0 <= o.momentum < 1, o.momentum, "from 0 to below 1"),
        ("optimizer.weight_decay", o.weight_decay >= 0, o.weight_decay, "at least 0"),
        ("optimizer.warmup", 0 <= o.warmup < 1, o.warmup, "from 0 to below 1"),
        ("optimizer.label_smoothing", 0 <= o.label_smoothing < 1, o.label_smoothing, "from 0 to below 1"),
        ("training.epochs", t.epochs >= 1, t.epochs, "at least 1"),
        ("training.batch_size", t.batch_size >= 2, t.batch_size, "at least 2 (BatchNorm)"),
        ("augment.randaugment_ops", a.randaugment_ops >= 0, a.randaugment_ops, "at least 0"),
        (
            "augment.randaugment_magnitude",
            0 <= a.randaugment_magnitude < RANDAUGMENT_BINS,
            a.randaugment_magnitude,
            f"0 to {RANDAUGMENT_BINS - 1}",
        ),
        ("augment.crop_padding", a.crop_padding >= 0, a.crop_padding, "at least 0"),
        ("augment.cutout", 0 <= a.cutout < 2 * recipe.space.image_size, a.cutout, "0 to below twice the image"),
        ("distill.epochs", x.epochs >= 1, x.epochs, "at least 1"),
        ("distill.batch_size", x.batch_size >= 2, x.batch_size, "at least 2 (BatchNorm)"),
        ("distill.lr", x.lr > 0, x.lr, "above 0"),
        ("distill.norm_batches", x.norm_batches >= 1, x.norm_batches, "at least 1"),
        ("kd.alpha", 0 <= k.alpha <= 1, k.alpha, "from 0 to 1"),
        ("kd.temperature", k.temperature > 0, k.temperature, "above 0"),
        ("kd.top_k", 0 <= k.top_k < recipe.space.classes, k.top_k, "0 (all) to below the number of classes"),
        ("finetune.lr", f.lr > 0, f.lr, "above 0"),
        ("finetune.epochs", f.epochs >= 0, f.epochs, "at least 0"),
    ]
    for key, good, got, expected in rules:
        if not good:
            raise RecipeError(f"recipe {recipe.name!r}: {key} = {got!r}, expected {expected}")
    try:
        recipe.build_space()
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.name!r}: [space]: {error}") from None


def list_recipes() -> list[str]:
    """Names of the recipes in the package."""
    folder = resources.files("archrank.train_ground_truth") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Load a packaged recipe by name, or a TOML file.

    Raises
    ------
    RecipeError
        For an unknown name, a file that is not TOML, an unknown key or a value of the wrong type.
    """
    text = str(name_or_file)
    if text in list_recipes():
        content = (resources.files("archrank.train_ground_truth") / "recipes" / f"{text}.toml").read_bytes()
    elif Path(text).is_file():
        content = Path(text).read_bytes()
    else:
        raise RecipeError(f"no recipe {text!r}; give a TOML file or one of: {', '.join(list_recipes())}")
    try:
        data = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"recipe {text} is not valid TOML: {' '.join(str(error).split())}") from None
    data.setdefault("name", Path(text).stem)
    return recipe_from_dict(data)


def recipe_from_dict(data: Mapping[str, Any]) -> Recipe:
    """Inverse of `Recipe.to_dict`; unknown keys and wrong types raise `RecipeError`."""
    return _build(Recipe, data, str(data.get("name", "?")), "")


def _build(cls: type[T], data: Mapping[str, Any], recipe: str, prefix: str) -> T:
    hints = get_type_hints(cls)
    values = {}
    for key, value in data.items():
        where = f"recipe {recipe!r}: {prefix}{key}"
        if key not in hints:
            raise RecipeError(f"{where} is not a key; expected one of: {', '.join(hints)}")
        values[key] = _typed(hints[key], value, recipe, where, f"{prefix}{key}.")
    if "name" in hints and "name" not in values:
        raise RecipeError(f"recipe {recipe!r}: name is missing")
    return cls(**values)


def _typed(kind: Any, value: Any, recipe: str, where: str, prefix: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where} = {value!r}, expected a table [{prefix[:-1]}]")
        return _build(kind, value, recipe, prefix)  # type: ignore[arg-type]
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise RecipeError(f"{where} = {value!r}, expected one of: {', '.join(get_args(kind))}")
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)) or not all(_is_number(v) for v in value):
            raise RecipeError(f"{where} = {value!r}, expected a list of numbers")
        if not all(map(math.isfinite, value)):
            raise RecipeError(f"{where} = {value!r}, expected finite numbers")
        return tuple(float(v) for v in value)
    if kind is float and _is_number(value):
        if not math.isfinite(value):
            raise RecipeError(f"{where} = {value!r}, expected a finite number")
        return float(value)
    if type(value) is not kind:
        raise RecipeError(f"{where} = {value!r} ({type(value).__name__}), expected {kind.__name__}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
