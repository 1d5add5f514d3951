"""Recipes: the packaged ones, their files, their hashes, and one clear line for what is wrong."""

import pytest
import torch

from archrank.train_ground_truth import list_recipes, load_recipe, prepare_data
from archrank.train_ground_truth.data import Images
from archrank.train_ground_truth.recipe import RecipeError, recipe_from_dict

TINY = {
    "name": "tiny",
    "space": {"stages": 2, "width": 4, "image_size": 8, "classes": 3},
    "training": {"epochs": 2, "batch_size": 16, "weights": "last"},
    "distill": {"epochs": 2, "batch_size": 16},
}


@pytest.mark.parametrize("name", list_recipes())
def test_every_packaged_recipe_loads_under_its_own_name_and_says_what_it_is(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert len(recipe.description) > 20
    assert "\n" not in recipe.description
    assert recipe_from_dict(recipe.to_dict()) == recipe


def test_the_published_recipe():
    """Value by value: the table of BLOX was trained so."""
    published = {
        "space": {"stages": 3, "width": 32, "image_size": 32, "classes": 100},
        "data": {
            "train": 45_000,
            "val": 5_000,
            "split_seed": 0,
            "pool": 1,
            "mean": (0.5070588, 0.4866667, 0.4407843),
            "std": (0.2674510, 0.2564706, 0.2760784),
        },
        "optimizer": {
            "lr": 0.01,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 5e-4,
            "schedule": "cosine",
            "label_smoothing": 0.0,
        },
        "training": {"epochs": 200, "batch_size": 256, "weights": "best-val"},
        "augment": {
            "randaugment_ops": 2,
            "randaugment_magnitude": 14,
            "flip": True,
            "crop_padding": 4,
            "cutout": 16,
        },
    }
    recipe = load_recipe("blox-cifar100")
    found = recipe.to_dict()
    assert {part: {key: found[part][key] for key in keys} for part, keys in published.items()} == published
    assert recipe.build_space().size == 91_125


def test_the_published_split():
    """The permutation of RandomState(0) begins 11841 19602 45519; its last 5,000 validate."""
    recipe = load_recipe("blox-cifar100")
    pixels = torch.zeros(1, dtype=torch.uint8).expand(50_000, 3, 32, 32)
    test = (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    # The position of an image as its label.
    images = Images((pixels, torch.arange(50_000)), test, tuple(str(c) for c in range(100)), "")
    part = prepare_data(images, recipe, "cpu")
    assert part.train[1][:3].tolist() == [11841, 19602, 45519]
    assert (len(part.train[1]), len(part.val[1])) == (45_000, 5_000)
    assert len(set(part.train[1].tolist()) | set(part.val[1].tolist())) == 50_000


@pytest.mark.parametrize(("slow", "fast"), [("blox-mini", "blox-mini-fast"), ("blox-cifar100", "blox-cifar100-fast")])
def test_a_fast_recipe_is_at_most_a_third_of_the_work_on_the_same_space_and_test_images(slow, fast):
    a, b = load_recipe(slow), load_recipe(fast)
    assert 3 * b.data.train * b.training.epochs <= a.data.train * a.training.epochs
    assert a.space == b.space
    assert a.data.pool == b.data.pool
    assert a.hash != b.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainning": {}}, "trainning is not a key"),
        ({"augment": {"randaugment": 2}}, "augment.randaugment is not a key; expected one of: randaugment_ops"),
        ({"training": {"epochs": 2.5}}, "training.epochs = 2.5"),
        ({"training": {"epochs": True}}, "training.epochs = True"),
        ({"augment": {"flip": 1}}, r"augment.flip = 1 \(int\), expected bool"),
        ({"augment": {"randaugment_ops": "2"}}, r"randaugment_ops = '2' \(str\), expected int"),
        ({"augment": {"randaugment_ops": -1}}, "randaugment_ops = -1, expected at least 0"),
        ({"augment": {"randaugment_magnitude": 31}}, "randaugment_magnitude = 31, expected 0 to 30"),
        ({"optimizer": {"schedule": "step"}}, "expected one of: cosine, one-cycle"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr = 0.0, expected above 0"),
        ({"optimizer": {"lr": float("inf")}}, "optimizer.lr = inf, expected a finite number"),
        ({"data": {"mean": [0.5]}}, "data.mean"),
        ({"data": {"mean": [float("nan"), 0.4, 0.4]}}, "data.mean = .*, expected finite numbers"),
        ({"data": {"std": [0.2, float("nan"), 0.2]}}, "data.std = .*, expected finite numbers"),
        ({"data": {"split_seed": -1}}, "data.split_seed = -1, expected 0 to 4294967295"),
        ({"space": {"width": 7}}, r"\[space\]"),
        ({"space": 3}, r"expected a table \[space\]"),
        ({"name": 3}, r"name = 3 \(int\), expected str"),
    ],
)
def test_bad_recipes_are_one_clear_line(change, message):
    with pytest.raises(RecipeError, match=message) as caught:
        recipe_from_dict({**TINY, **change})
    assert "\n" not in str(caught.value)


def test_recipe_files(tmp_path):
    with pytest.raises(RecipeError, match="no recipe 'nope'"):
        load_recipe("nope")
    bad = tmp_path / "bad.toml"
    bad.write_text("[training\n")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(bad)
    bad.write_bytes(b'description = "\xff"\n')
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(bad)
    good = tmp_path / "mine.toml"
    good.write_text("[augment]\nrandaugment_ops = 1\n")
    assert load_recipe(good).name == "mine"
    assert load_recipe(good).augment.randaugment_magnitude == 14


def test_recipe_hash_covers_what_changes_the_numbers():
    recipe = recipe_from_dict(TINY)
    assert recipe_from_dict({**TINY, "description": "words"}).hash == recipe.hash
    for part, key, value in (
        ("optimizer", "lr", 0.02),
        ("augment", "randaugment_ops", 1),
        ("augment", "randaugment_magnitude", 15),
        ("augment", "cutout", 4),
    ):
        assert recipe_from_dict({**TINY, part: {key: value}}).hash != recipe.hash
    distilled = recipe_from_dict({**TINY, "distill": {"epochs": 3, "batch_size": 16}})
    assert distilled.hash == recipe.hash
    assert distilled.distill_hash != recipe.distill_hash


def test_the_hash_of_published_records_stays():
    """Keys added later leave it alone: records made before go on being read."""
    assert load_recipe("blox-mini").hash == "8dc3e67edcfa"
