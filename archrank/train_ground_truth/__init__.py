"""Making ground truth: train BLOX networks, distil blocks from a teacher into signatures."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archrank.train_ground_truth import losses
    from archrank.train_ground_truth.batches import prepare_data
    from archrank.train_ground_truth.campaign import run_many
    from archrank.train_ground_truth.data import load_images
    from archrank.train_ground_truth.distillation import distill
    from archrank.train_ground_truth.launch import run_jobs
    from archrank.train_ground_truth.network import build_network
    from archrank.train_ground_truth.recipe import Recipe, list_recipes, load_recipe
    from archrank.train_ground_truth.store import Store
    from archrank.train_ground_truth.table import merge
    from archrank.train_ground_truth.train import train_one

_HOME = {
    "Recipe": "recipe",
    "Store": "store",
    "build_network": "network",
    "distill": "distillation",
    "list_recipes": "recipe",
    "load_images": "data",
    "load_recipe": "recipe",
    "losses": "",
    "merge": "table",
    "prepare_data": "batches",
    "run_jobs": "launch",
    "run_many": "campaign",
    "train_one": "train",
}

__all__ = [
    "Recipe",
    "Store",
    "build_network",
    "distill",
    "list_recipes",
    "load_images",
    "load_recipe",
    "losses",
    "merge",
    "prepare_data",
    "run_jobs",
    "run_many",
    "train_one",
]


def __getattr__(name: str) -> Any:
    """Import torch only when something that needs it is asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "losses":
        return import_module(f"{__name__}.losses")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
