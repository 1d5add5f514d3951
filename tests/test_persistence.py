"""Models on disk: the same bits again, and nothing but an error from folders that are not as they were written."""

import ast
import contextlib
import errno
import hashlib
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as write_arrays
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from tiny import QUICK, quick

import archrank
from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.predictors import (
    GBDTRegressor,
    HantRegressor,
    ModelFolderError,
    list_predictors,
    load,
    make_predictor,
    register_predictor,
    save,
)
from archrank.predictors import registry as predictor_registry
from archrank.predictors.base import State, has_std
from archrank.predictors.conformal import ConformalPredictor
from archrank.predictors.model_folder import read_model, write_model
from archrank.spaces import blox

SPACE = blox(stages=2)
PREDICTORS = list_predictors()


@pytest.fixture(scope="module")
def bench() -> GroundTruth:
    """A table with everything that an encoding may ask for."""
    rng = np.random.default_rng(0)
    codes = SPACE.sample(80, seed=0)
    frame = pd.DataFrame(codes, columns=["stage_0", "stage_1"]).assign(seed=0, variant="normal")
    frame["acc"] = 60 + codes @ [0.3, 0.2] + rng.normal(size=80)
    frame["val_acc"] = [[a - 2, a - 1, a] for a in frame["acc"]]
    frame["nwot"] = codes.sum(axis=1) + rng.normal(size=80)
    blocks = pd.DataFrame({"stage": np.repeat([0, 1], 45), "block": np.tile(np.arange(45), 2), "teacher": "t"})
    signatures = Signatures(blocks.assign(nsr=rng.random(90)), {"nsr": Metric("nsr", "min")})
    metrics = {"acc": Metric("acc", "max", "%", (0.0, 100.0)), "nwot": Metric("nwot", "max")}
    return GroundTruth.from_frame(SPACE, frame, metrics, name="everything", signatures=signatures)


@pytest.fixture(scope="module")
def models(bench: GroundTruth) -> dict[str, Pipeline]:
    """Every registered predictor, fitted."""
    made = {name: quick(name, bench) for name in PREDICTORS}
    return {name: model.fit(bench.codes[:60], bench.values("acc")[:60]) for name, model in made.items()}


@pytest.fixture(scope="module")
def saved(models: dict[str, Pipeline], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Their folders, which tests leave as they are."""
    home = tmp_path_factory.mktemp("saved")
    return {name: save(model, home / name) for name, model in models.items()}


@pytest.fixture
def joined(toy: GroundTruth) -> Pipeline:
    return make_predictor("donna:signature+one_hot", toy).fit(toy.codes, toy.values("acc"))


@pytest.fixture
def folder(joined: Pipeline, tmp_path: Path) -> Path:
    """A folder to damage."""
    return save(joined, tmp_path / "model")


def predict(model: Pipeline, codes: np.ndarray) -> np.ndarray:
    """Everything that a model predicts."""
    return np.stack(model.predict(codes, return_std=True)) if has_std(model) else model.predict(codes)


def forge(folder: Path, change: Callable[[dict], object]) -> None:
    """Change the config, and make all checksums right again."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    config.pop("sha256", None)
    for name in config["files"]:
        if (folder / name).is_file():
            config["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps(config | {"sha256": hashlib.sha256(text.encode()).hexdigest()}))


def refused(folder: Path, message: str = "save the model again|is not a model folder") -> None:
    with pytest.raises(ModelFolderError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


# -- the same again ----------------------------------------------------------------------------------

ELSEWHERE = """
import sys
from pathlib import Path

def refuse(event, arguments):
    if event == "pickle.find_class":
        raise RuntimeError(f"a pickle was read: {arguments}")

sys.addaudithook(refuse)
import numpy as np
from archrank.predictors import load
from archrank.predictors.base import has_std

codes = np.load(sys.argv[1])
for folder in map(Path, sys.argv[2:]):
    model = load(folder)
    out = np.stack(model.predict(codes, return_std=True)) if has_std(model) else model.predict(codes)
    np.save(folder.parent / f"{folder.name}.npy", out)
"""


def test_another_process_predicts_the_same_bits_and_reads_no_pickle(
    models: dict[str, Pipeline], bench: GroundTruth, tmp_path: Path
) -> None:
    np.save(tmp_path / "codes.npy", bench.codes)
    folders = [save(model, tmp_path / name) for name, model in models.items()]
    subprocess.run([sys.executable, "-c", ELSEWHERE, tmp_path / "codes.npy", *folders], check=True)
    for name, model in models.items():
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), predict(model, bench.codes)), name


def test_a_folder_is_whole_and_knows_its_signatures(joined: Pipeline, toy: GroundTruth, tmp_path: Path) -> None:
    folder = save(joined, tmp_path / "deep" / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["arrays.safetensors", "config.json"]
    assert [p.name for p in folder.parent.iterdir()] == ["model"], "nothing temporary stays behind"
    again = load(folder)
    assert again["regressor"].get_params() == joined["regressor"].get_params()
    metric = again["encoding"].transformer_list[0][1].signatures.metrics["nsr"]
    assert metric == toy.signatures.metrics["nsr"]
    assert again.fit(toy.codes, toy.values("acc")) is again, "a loaded model can be fitted again"


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_loaded_model_is_saved_again_as_the_same_bytes(name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    again = save(load(saved[name]), tmp_path / "again")
    files = [p.relative_to(again) for p in again.rglob("*") if p.is_file()]
    assert len(files) >= 2
    assert all((again / f).read_bytes() == (saved[name] / f).read_bytes() for f in files)


def test_proxies_are_saved_with_their_directions(bench: GroundTruth, tmp_path: Path) -> None:
    model = make_predictor("gbdt:structure+proxy", bench, random_state=0, **QUICK["gbdt"])
    model.fit(bench.codes[:60], bench.values("acc")[:60])
    again = load(save(model, tmp_path / "model"))
    assert np.array_equal(again.predict(bench.codes), model.predict(bench.codes))
    proxy = again["encoding"].transformer_list[1][1]
    assert proxy.measured.directions == {"nwot": "max"}
    assert proxy.measured.columns["nwot"].tolist() == bench.values("nwot").tolist()


def test_hant_is_saved_unfitted(toy: GroundTruth, tmp_path: Path) -> None:
    model = make_predictor("hant", toy)
    again = load(save(model, tmp_path / "model"))
    assert np.array_equal(again.predict(toy.codes), model.predict(toy.codes))
    assert not hasattr(again["regressor"], "slope_")


def test_a_constant_gbdt_is_saved(tmp_path: Path) -> None:
    model = make_predictor("gbdt", SPACE).fit([[0, 0]], [3.0])
    assert load(save(model, tmp_path / "model")).predict([[1, 1]]) == pytest.approx(3.0)


def test_a_gcn_of_a_gpu_is_loaded_where_there_is_none(
    models: dict[str, Pipeline], bench: GroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("archrank.predictors.gcn.is_there", lambda device: device.type == "cpu")
    folder = save(models["gcn"], tmp_path / "model")
    forge(folder, lambda config: config["params"].update(device="cuda:1"))
    again = load(folder)
    assert again["regressor"].device == "cuda:1", "the parameter stays as it was given"
    assert again["regressor"].device_.type == "cpu"
    assert np.array_equal(again.predict(bench.codes), models["gcn"].predict(bench.codes))
    with pytest.raises(ValueError, match="device 'cuda:1' was asked for, but torch does not see it; use auto or cpu"):
        again.fit(bench.codes, bench.values("acc"))


# -- states --------------------------------------------------------------------------------------------


class Keeper(RegressorMixin, BaseEstimator):
    """Learns nothing and keeps the state that it is given."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Keeper":
        self.state_ = State()
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.zeros(len(X))

    def get_state(self) -> State:
        return self.state_

    def set_state(self, state: State) -> None:
        self.state_ = state


class Pair(RegressorMixin, BaseEstimator):
    """The mean of two members that see different columns."""

    def _members(self) -> list[GBDTRegressor]:
        return [GBDTRegressor(n_estimators=5, random_state=seed) for seed in (0, 1)]

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Pair":
        self.members_ = [m.fit(X[:, i::2], y) for i, m in enumerate(self._members())]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.mean([m.predict(X[:, i::2]) for i, m in enumerate(self.members_)], axis=0)

    def get_state(self) -> State:
        state = State({"n": 2}, {"weights": np.ones(2)})
        for i, member in enumerate(self.members_):
            state |= member.get_state().nested(f"member/{i}")
        return state

    def set_state(self, state: State) -> None:
        self.members_ = self._members()
        for i, member in enumerate(self.members_):
            member.set_state(state.part(f"member/{i}"))


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        entries = predictor_registry._PREDICTORS.entries
        patch.setattr(predictor_registry._PREDICTORS, "entries", dict(entries))
        register_predictor("keeper", Keeper, encoding="one_hot")
        register_predictor("pair", Pair, encoding="one_hot")
        yield


def kept(state: State, folder: Path) -> State:
    """A state after it was saved and loaded."""
    model = make_predictor("keeper", SPACE).fit([[0, 0]], [0.0])
    model["regressor"].state_ = state
    return load(save(model, folder))["regressor"].state_


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
numbers = hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64))
arrays = (numbers | hnp.boolean_dtypes()).flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0)))


@settings(max_examples=50, deadline=None)
@given(values=st.dictionaries(st.text(), plain, max_size=3), array=arrays, text=st.text())
def test_states_come_back_to_the_bit(
    values: dict, array: np.ndarray, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = State(values, {"a": array, "b/transposed": array.T}, {"c": text, "d/e": text})
    again = kept(state, tmp_path_factory.mktemp("state") / "model")
    assert repr(again.values) == repr(dict(values))  # tells 1 from 1.0, and 0.0 from -0.0
    assert again.texts == state.texts
    for name, expected in state.arrays.items():
        assert again.arrays[name].dtype == expected.dtype.newbyteorder("=")
        assert again.arrays[name].shape == expected.shape
        assert again.arrays[name].tobytes() == expected.astype(expected.dtype.newbyteorder("=")).tobytes()
        assert again.arrays[name].flags.writeable


def test_numpy_scalars_are_kept_as_numbers(tmp_path: Path) -> None:
    values = {"a": np.float32(0.1), "b": np.int64(2**60 + 1), "c": np.bool_(True), "d": np.array([0.1, -0.0])}
    again = kept(State(values), tmp_path / "model").values
    assert repr(again) == repr({"a": 0.10000000149011612, "b": 2**60 + 1, "c": True, "d": [0.1, -0.0]})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (State({"target": {"mean": np.nan}}), "'mean' 'target' learnt by predictor 'keeper' is nan, which JSON"),
        (State({"scale": [1.0, np.float64("inf")]}), "'scale' learnt by predictor 'keeper' is inf"),
        (State({"f": len}), "'f' learnt by predictor 'keeper' = <built-in function len> cannot be saved"),
        (State({"by": {1: 2}}), "'by' learnt by predictor 'keeper' = {1: 2} cannot be saved"),
        (State({"long": np.longdouble(1)}), "'long' learnt by .* cannot be saved"),
        (State(arrays={"a": np.array(["x"])}), "arrays of this kind cannot be saved"),
        (State(arrays={"a": np.array([None])}), "arrays of this kind cannot be saved"),
        (State(texts={"../a": ""}), "a text cannot be saved as '../a.txt'"),
        (State(texts={"/etc/a": ""}), "a text cannot be saved as '/etc/a.txt'"),
        (State(texts={"a/.b": ""}), "a text cannot be saved as 'a/.b.txt'"),
    ],
)
def test_what_cannot_come_back_is_refused_by_name(state: State, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        kept(state, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_states_nest() -> None:
    inner, outer = State({"a": 1}, {"x": np.ones(1)}, {"t": "1"}), State({"a": 2})
    both = outer | inner.nested("member/1") | inner.nested("member/10")
    assert both.part("member/1") == inner
    assert both.part("member").part("10") == inner
    assert both.part("member/1") != both.part("member/10").nested("a")
    assert not both.part("other")
    with pytest.raises(ValueError, match="both states hold 'member/1/a'; nest them under different names"):
        both | inner.nested("member/1")


def test_members_are_saved_within_their_ensemble(toy: GroundTruth, tmp_path: Path) -> None:
    model = make_predictor("pair", toy).fit(toy.codes, toy.values("acc"))
    folder = save(model, tmp_path / "model")
    assert (folder / "member" / "1" / "booster.txt").is_file()
    assert np.array_equal(load(folder).predict(toy.codes), model.predict(toy.codes))
    (folder / "member" / "0" / "booster.txt").write_text("")
    refused(folder, "member/0/booster.txt is truncated or was altered")


def test_a_conformal_predictor_is_saved_with_all_its_pipelines(bench: GroundTruth, tmp_path: Path) -> None:
    around = make_predictor("gbdt:structure+signature", bench, random_state=0, **QUICK["gbdt"])
    model = ConformalPredictor(around, cv=3, random_state=7)
    with pytest.raises(NotFittedError):
        save(model, tmp_path / "model")
    model.fit(bench.codes[:60], bench.values("acc")[:60])
    folder = save(model, tmp_path / "model")
    again = load(folder)
    assert np.array_equal(again.predict(bench.codes), model.predict(bench.codes))
    expected = model.predict_interval(bench.codes, 0.8)
    assert np.array_equal(again.predict_interval(bench.codes, 0.8), expected)
    assert (again.cv, again.random_state) == (3, 7)
    refitted = again.fit(bench.codes[:60], bench.values("acc")[:60])
    assert np.array_equal(refitted.predict_interval(bench.codes, 0.8), expected)
    (folder / "fold" / "2" / "booster.txt").unlink()
    refused(folder, "fold/2/booster.txt is missing")


# -- damage --------------------------------------------------------------------------------------------


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


DAMAGE = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "emptied": lambda file: file.write_bytes(b""),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "first bit": lambda file: flip(file, 0),
    "a bit within": lambda file: flip(file, file.stat().st_size // 3),
    "removed": Path.unlink,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_every_damaged_file_is_noticed(name: str, damage: str, saved: dict[str, Path], tmp_path: Path) -> None:
    for i, original in enumerate(sorted(p for p in saved[name].rglob("*") if p.is_file())):
        folder = Path(shutil.copytree(saved[name], tmp_path / str(i)))
        DAMAGE[damage](folder / original.relative_to(saved[name]))
        refused(folder)


def test_every_byte_of_a_config_counts(folder: Path) -> None:
    """Wherever one character of it is another, reading refuses it, or reads what was written."""
    path = folder / "config.json"
    text, config = path.read_bytes(), read_model(folder)[0]
    for at in np.random.default_rng(0).choice(len(text), size=200, replace=False):
        path.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])
        with contextlib.suppress(ModelFolderError):
            assert read_model(folder)[0] == config, at


def test_every_entry_of_a_config_is_protected(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key in config:
        if key not in ("format", "version"):
            path.write_text(json.dumps(config | {key: {}}))
            refused(folder, "config.json was altered after it was written; save the model again")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "does not describe an archrank model"),
        (b'{"format": "other"}', "does not describe an archrank model"),
        (b"\xff", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"format": "archrank-model", "version": 2}', "model format 2, this archrank reads up to 1; install a newer"),
        (b'{"format": "archrank-model", "version": "1"}', "model format 1, this archrank"),
        (b'{"format": "archrank-model"}', "model format None"),
    ],
)
def test_configs_that_are_none(content: bytes, message: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(content)
    refused(folder, message)


def test_places_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        refused(place, "is not a model folder: it has no config.json")


def test_other_files_are_left_alone_and_never_opened(folder: Path, joined: Pipeline, toy: GroundTruth) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "model.pkl").write_bytes(pickle.dumps(Bomb(folder)))
    assert np.array_equal(load(folder).predict(toy.codes), joined.predict(toy.codes))
    assert not (folder / "exploded").exists()


# -- forged: all checksums are right ---------------------------------------------------------------------


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.target = str(folder / "exploded")

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hosts", "a/../../secret.txt", "..", "model.pkl", "secret", ""])
def test_files_elsewhere_or_of_another_kind_are_never_read(name: str, folder: Path) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "model.pkl").write_bytes(pickle.dumps(Bomb(folder)))
    forge(folder, lambda config: config["files"].update({name: ""}))
    refused(folder, "names the file .*, which no model has")
    assert not (folder / "exploded").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(version=99), "has model format 99"),
        (
            lambda c: c.update(predictor="mine"),
            "unknown predictor 'mine'; there are .*; import or install what it needs",
        ),
        (lambda c: c.update(predictor="os:mkdir"), "unknown predictor 'os:mkdir'"),
        (lambda c: c["encoding"][0].update(name="mine"), "unknown encoding 'mine'"),
        (lambda c: c["params"].update(depth=3), "unexpected keyword argument 'depth'"),
        (lambda c: c.pop("space"), "cannot be made into a model: 'space'"),
        (lambda c: c.update(encoding=[]), "cannot be made into a model"),
        (lambda c: c["encoding"].pop(), "the encoding gives 3 features, but 17 were seen in fit"),
        (lambda c: c["files"].pop("arrays.safetensors"), "'arrays.safetensors'"),
        (lambda c: c.update(values={}), "'target'"),
        (lambda c: c["values"]["target"].update(mean=[]), "could not be broadcast"),
        (lambda c: c["values"]["target"].update(scale=10**400), "int too large to convert to float"),
        (lambda c: c["values"]["target"].update(best=math.nan), "its predictions are not finite numbers"),
    ],
)
def test_parts_that_do_not_belong_together(change: Callable[[dict], object], message: str, folder: Path) -> None:
    forge(folder, change)
    refused(folder, message)


@pytest.mark.parametrize(
    ("name", "array", "change"),
    [
        ("donna", "state/coef", lambda a: a[:-1]),
        ("donna", "signature/nsr/0", lambda a: a[:-1]),
        ("donna", "state/coef", lambda a: a * np.nan),
        ("gcn", "state/feature_scale", lambda a: a[:-1]),
        ("gcn", "state/network.readout.head.weight", lambda a: a[:, :-1]),
        ("gcn", "state/network.readout.head.weight", lambda a: None),
    ],
)
def test_arrays_that_no_fit_has_left(
    name: str, array: str, change: Callable, saved: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved[name], tmp_path / "model"))
    file = folder / "arrays.safetensors"
    arrays = read_arrays(file.read_bytes())
    changed = change(arrays.pop(array))
    if changed is not None:
        arrays[array] = np.ascontiguousarray(changed)
    file.write_bytes(write_arrays(arrays))
    refused(folder, "arrays.safetensors is truncated or was altered")
    forge(folder, lambda config: None)
    refused(folder, "cannot be made into a model")


def test_a_booster_of_other_text(saved: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    folder = Path(shutil.copytree(saved["gbdt"], tmp_path / "model"))
    file = folder / "booster.txt"
    file.write_text(file.read_text().replace("shrinkage=", "shrinkage=1"))
    refused(folder, "booster.txt is truncated or was altered")
    for text in ("", "tree\nversion=v4\n", "import os"):
        file.write_text(text)
        forge(folder, lambda config: None)
        refused(folder, "cannot be made into a model")


# -- nothing is executed -----------------------------------------------------------------------------------


def test_reading_code_knows_no_pickle() -> None:
    """Neither what unpickles nor what runs text, in all that `load` can reach of archrank."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
    root = Path(archrank.__file__).parent
    files = [*(root / "predictors").glob("*.py"), *(root / "encodings").glob("*.py"), *(root / "spaces").glob("*.py")]
    assert len(files) > 20
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not forbidden & {n.partition(".")[0] for n in names}, file
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"eval", "exec", "__import__", "torch.load"}, file


# -- saving ------------------------------------------------------------------------------------------------


def test_saving_replaces_models_and_nothing_else(models: dict[str, Pipeline], toy: GroundTruth, tmp_path: Path) -> None:
    folder = save(models["gbdt"], tmp_path / "model")
    (folder / "fit.json").write_text("of the old model")
    save(models["hant"], folder)
    assert isinstance(load(folder)["regressor"], HantRegressor)
    assert sorted(p.name for p in folder.iterdir()) == ["arrays.safetensors", "config.json"]
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"meow")
    for place in (other, other / "cat.jpg"):
        with pytest.raises(ValueError, match="holds something other than a model"):
            save(models["gbdt"], place)
    assert (other / "cat.jpg").read_bytes() == b"meow"
    with pytest.raises(NotFittedError):
        save(make_predictor("donna", toy), tmp_path / "unfitted")
    assert not (tmp_path / "unfitted").exists()


def test_parameters_that_json_cannot_hold_are_named(toy: GroundTruth, tmp_path: Path) -> None:
    model = make_predictor("gbdt", toy, random_state=np.random.RandomState(0)).fit(toy.codes, toy.values("acc"))
    with pytest.raises(ValueError, match="'random_state' of predictor 'gbdt' = RandomState"):
        save(model, tmp_path / "model")


def test_sequences_in_parameters_come_back_as_tuples(tmp_path: Path) -> None:
    groups = (("structure", (0, 54)), ("cost", (54, 58)))

    class Grouped(Keeper):
        def __init__(self, *, groups: tuple = ()) -> None:
            self.groups = groups

    register_predictor("grouped", Grouped, encoding="one_hot")
    model = make_predictor("grouped", SPACE, groups=groups).fit([[0, 0]], [0.0])
    assert load(save(model, tmp_path / "model"))["regressor"].groups == groups


class Fails:
    """Calls a function until its turn has come, then raises."""

    def __init__(self, function: Callable, turn: int, error: BaseException, times: int = 1) -> None:
        self.function, self.turns, self.error = function, range(turn, turn + times), error
        self.calls = 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        if self.calls in self.turns:
            raise self.error
        return self.function(*args, **kwargs)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("where", "turn", "error"),
    [
        ("os.replace", 1, PermissionError(errno.EACCES, "Permission denied")),
        ("os.replace", 2, FULL),
        ("os.replace", 2, KeyboardInterrupt()),
        ("os.fsync", 1, FULL),
        ("os.fsync", 2, FULL),
        ("pathlib.Path.write_bytes", 1, FULL),
        ("pathlib.Path.write_bytes", 3, FULL),
        ("pathlib.Path.mkdir", 1, FULL),
    ],
)
def test_an_interrupted_save_leaves_the_old_model(
    where: str,
    turn: int,
    error: BaseException,
    models: dict[str, Pipeline],
    bench: GroundTruth,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = save(models["hant"], tmp_path / "model")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    module, _, name = where.rpartition(".")
    home = Path if module == "pathlib.Path" else sys.modules[module]
    function = Fails(getattr(home, name), turn, error)
    with monkeypatch.context() as patch:
        patch.setattr(home, name, lambda *args, **kwargs: function(*args, **kwargs))
        with pytest.raises(type(error)):
            save(models["gbdt"], folder)
    assert function.calls >= turn
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert np.array_equal(load(folder).predict(bench.codes), models["hant"].predict(bench.codes))
    assert list(tmp_path.iterdir()) == [folder], "nothing temporary stays behind"
    assert load(save(models["gbdt"], folder))["regressor"].booster_ is not None, "and it can be saved afterwards"


def test_where_even_the_old_model_cannot_be_moved_back_it_is_kept_beside(
    models: dict[str, Pipeline], bench: GroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(models["hant"], tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", Fails(os.replace, 2, FULL, times=9))
        with pytest.raises(OSError, match="No space left"):
            save(models["gbdt"], folder)
    (aside,) = tmp_path.glob(".model-*/old")
    assert np.array_equal(load(aside).predict(bench.codes), models["hant"].predict(bench.codes))


def test_a_model_without_arrays_is_a_model(tmp_path: Path) -> None:
    write_model(tmp_path / "m", {"values": {}}, {}, {})
    assert read_model(tmp_path / "m") == ({"format": "archrank-model", "version": 1, "values": {}}, {}, {})
