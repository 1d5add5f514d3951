"""Encodings: the published graphs, hand-computed features, and the contract of each on every space."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion

from archrank.encodings import (
    CostEncoding,
    GraphBatch,
    GraphEncoding,
    NetworkColumns,
    OneHotEncoding,
    ProxyEncoding,
    SignatureEncoding,
    StructureEncoding,
    list_encodings,
    make_encoding,
    register_encoding,
)
from archrank.encodings import registry as encoding_registry
from archrank.encodings.proxy import PROXIES
from archrank.ground_truth import Metric, Signatures
from archrank.spaces import MacroSpace, blox, bossnas_nats, nas_bench_macro
from archrank.testing import check_encoding

GRAPHS = json.loads((Path(__file__).parent / "data" / "graphs.json").read_text())
SPACES = {
    "blox-2": blox(stages=2),
    "nas-bench-macro": nas_bench_macro(),
    "bossnas-nats": bossnas_nats(),
    "named": MacroSpace.from_blocks([["a", "b"], ["x", "y", "z"]], name="named"),
}


def signatures_of(space: MacroSpace, missing: int | None = None) -> Signatures:
    rng = np.random.default_rng(0)
    stage = np.repeat(np.arange(space.stages), space.n_blocks)
    block = np.concatenate([np.arange(n) for n in space.n_blocks])
    frames = [
        pd.DataFrame(
            {"stage": stage, "block": block, "teacher": t, "nsr": rng.random(len(stage)), "acc": rng.random(len(stage))}
        )
        for t in ("first", "second")
    ]
    frame = pd.concat(frames, ignore_index=True)
    if missing is not None:
        frame.loc[missing, "nsr"] = np.nan
    return Signatures(frame, {"nsr": Metric("nsr", "min"), "acc": Metric("acc", "max")}, space.n_blocks)


def proxies_of(space: MacroSpace) -> NetworkColumns:
    """Proxies of every network where the space is small, else of those that the checks draw."""
    codes = space.distinct_codes()
    rng = np.random.default_rng(0)
    return NetworkColumns(codes, {name: rng.random(len(codes)) for name in PROXIES})


def curve_of(space: MacroSpace) -> NetworkColumns:
    codes = space.distinct_codes()
    return NetworkColumns(codes, {"acc after 1": np.random.default_rng(0).random(len(codes))})


def suits(space: str, name: str) -> bool:
    """Whether the space knows what the encoding needs."""
    if name == "depth":
        return space not in ("bossnas-nats", "named")
    return name not in ("cost", "params", "flops", "scaled_signature") or bool(SPACES[space].block_costs)


def applicable() -> list[tuple[str, str]]:
    return [(space, name) for space in SPACES for name in list_encodings() if suits(space, name)]


@pytest.mark.parametrize(("space", "name"), applicable())
def test_contract(space: str, name: str) -> None:
    where = SPACES[space]
    tables = {"signatures": signatures_of(where), "measured": proxies_of(where), "curve": curve_of(where)}
    check_encoding(make_encoding(name, where, **tables))


def test_proxies_are_looked_up_for_twins_too_and_never_made_up() -> None:
    space = nas_bench_macro()
    twin, canonical = [0, 0, 1, 0, 2, 1, 1, 0], [0, 0, 1, 2, 0, 1, 1, 0]
    codes = np.concatenate([space.distinct_codes()[10:19], [canonical]])
    measured = NetworkColumns(codes, {"nwot": np.arange(10.0), "grad_norm": np.r_[np.nan, np.arange(9.0)]})
    encoding = ProxyEncoding(space, measured, proxies=["nwot"])
    assert encoding.transform(codes[[3, 7]]).tolist() == [[3], [7]]
    assert encoding.transform([twin]).tolist() == [[9]]
    with pytest.raises(ValueError, match=r"row 1: network .* has no zero-cost proxies"):
        encoding.transform(space.distinct_codes()[[12, 300]])
    with pytest.raises(ValueError, match=r"row 0: network .* has no zero-cost proxies"):
        ProxyEncoding(space, measured).transform(codes[[0]])
    with pytest.raises(ValueError, match="unknown proxy 'synapse'; there are nwot, grad_norm"):
        ProxyEncoding(space, measured, proxies=["synapse"]).transform(codes)
    with pytest.raises(ValueError, match="needs zero-cost proxies"):
        make_encoding("proxy", space)


# -- graphs --------------------------------------------------------------------------------------


def test_graphs_as_published() -> None:
    space = blox()
    batch = GraphEncoding(space, shared=False).transform(space.from_arch_vectors([g["arch_vec"] for g in GRAPHS]))
    assert len(GRAPHS) == 12
    np.testing.assert_array_equal(batch.adjacency, np.array([g["adjacency"] for g in GRAPHS]))
    np.testing.assert_array_equal(batch.features, np.array([g["features"] for g in GRAPHS]))


def test_graph_feature_names_follow_the_published_columns() -> None:
    ops = [f"stage{s}.{op}" for s in range(3) for op in ("mbconv", "bconv", "conv", "reduction")]
    published = ["global", "input", *ops, "output"]
    assert list(GraphEncoding(blox(), shared=False).get_feature_names_out()) == published
    more = [f"any.{op}" for op in ("mbconv", "bconv", "conv", "reduction")] + ["log_params"]
    assert list(GraphEncoding(blox(), costs=("params",)).get_feature_names_out()) == published + more


def test_shared_columns_and_relative_costs_of_graphs() -> None:
    space = blox(stages=2)
    codes = space.sample(50, seed=0)
    plain = GraphEncoding(space, shared=False).transform(codes).features
    full = GraphEncoding(space, costs=("flops",)).transform(codes).features
    n = plain.shape[2]
    np.testing.assert_array_equal(full[:, :, :n], plain)
    # Four operations in two stages: a shared column is the sum of theirs, and only one of them is ever set.
    np.testing.assert_array_equal(full[:, :, n : n + 4], plain[:, :, 2:6] + plain[:, :, 6:10])
    assert not full[:, 1:, -1].any(), "costs stand at the global vertex alone"
    assert kendalltau(full[:, 0, -1], space.flops(codes)).statistic == 1
    ends = np.array([space.all_codes()[pick(space.flops(space.all_codes()))] for pick in (np.argmin, np.argmax)])
    np.testing.assert_allclose(GraphEncoding(space, costs=("flops",)).transform(ends).features[:, 0, -1], [-0.5, 0.5])
    with pytest.raises(ValueError, match="unknown cost 'energy' of space"):
        GraphEncoding(space, costs=("energy",)).transform(codes)


def test_skips_are_bypassed_but_in_the_first_layer_of_a_group() -> None:
    batch = GraphEncoding(nas_bench_macro()).transform([[0, 0, 1, 0, 0, 2, 0, 1]])
    assert batch.shape[:2] == (1, 11)
    edges = batch.adjacency[0] & ~np.eye(11, dtype=bool)
    # Vertices: 0 global, 1 input, layer k at 2 + k, 10 output. The identity of layer 0 changes the shape and stays.
    # Canonical form moves the 1 of the last layer before the identity.
    assert {(i, j) for i, j in np.argwhere(edges).tolist() if i} == {(1, 2), (2, 4), (4, 7), (7, 8), (8, 10)}
    assert not batch.features[0, [3, 5, 6, 9]].any()


def test_sums_of_several_sources_reach_across_stages_without_a_reduction() -> None:
    class TwoBranches(MacroSpace):
        """Both operations read the block's input and feed its output; block 1 passes the input on, too."""

        def block_graph(self, stage: int, block: int):
            from archrank.spaces import BlockGraph

            edges = ((0, 1), (0, 2), (1, 3), (2, 3)) + (((0, 3),) if block else ())
            return BlockGraph(("op", "op"), edges)

        def op_features(self, stage: int):
            return ["op"], {"op": np.ones(1, np.float32)}

    space = TwoBranches(name="branches", blocks=(("sum", "sum+input"),) * 2)
    batch = GraphEncoding(space).transform([[0, 0], [1, 0]])
    # 0 global, 1 input, stage 0: 2 3, stage 1: 4 5, output 6.
    plain = {(1, 2), (1, 3), (2, 4), (2, 5), (3, 4), (3, 5), (4, 6), (5, 6)}
    for graph, expected in zip(batch.adjacency, (plain, plain | {(1, 4), (1, 5)}), strict=True):
        assert {(i, j) for i, j in np.argwhere(graph & ~np.eye(7, dtype=bool)).tolist() if i} == expected


def test_batches_slice_like_features() -> None:
    space = blox(stages=2)
    batch = GraphEncoding(space).transform(space.sample(6, seed=0))
    assert isinstance(batch[2:4], GraphBatch)
    assert [len(batch[rows]) for rows in (slice(4), [0, 5], np.arange(6) > 2, 3)] == [4, 2, 3, 1]
    np.testing.assert_array_equal(batch[[5, 0]].features, batch.features[[5, 0]])


def test_to_pyg_keeps_edges_and_features() -> None:
    from torch_geometric.data import Batch
    from torch_geometric.utils import to_dense_adj

    space = blox(stages=2)
    batch = GraphEncoding(space).transform(space.sample(3, seed=0))
    graphs = batch.to_pyg()
    joined = Batch.from_data_list(graphs)
    assert joined.num_graphs == 3
    np.testing.assert_array_equal(to_dense_adj(joined.edge_index, joined.batch).numpy(), batch.adjacency)
    np.testing.assert_array_equal(joined.x.numpy().reshape(batch.shape), batch.features)


# -- tables --------------------------------------------------------------------------------------


def test_one_hot_by_hand() -> None:
    assert OneHotEncoding(SPACES["named"]).transform([[1, 2], [0, 0]]).tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]


def test_structure_of_blox_by_hand() -> None:
    space = blox(stages=2)
    # conv alone, then mbconv fed by bconv with the skip from bconv.
    codes = space.codes_from_names([["conv", "bconv>mbconv+skip"]])
    encoding = StructureEncoding(space)
    row = dict(zip(encoding.get_feature_names_out(), encoding.transform(codes)[0], strict=True))
    expected = {
        "stage0.conv": 1, "stage0.bconv": 0, "stage0.depth": 1, "stage0.wiring=single": 1,
        "stage1.mbconv": 1, "stage1.bconv": 1, "stage1.depth": 2, "stage1.first=bconv": 1, "stage1.last=mbconv": 1,
        "stage1.wiring=chain+skip": 1, "total.conv": 1, "total.mbconv": 1, "total.bconv": 1, "total.depth": 3,
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected


def test_structure_sums_over_groups() -> None:
    encoding = StructureEncoding(nas_bench_macro())
    row = dict(zip(encoding.get_feature_names_out(), encoding.transform([[1, 0, 2, 0, 1, 0, 0, 0]])[0], strict=True))
    assert [row[f"group{g}.layers"] for g in range(3)] == [1, 2, 0]
    assert (row["total.layers"], row["total.operation=MB3_K3"], row["total.kernel"]) == (3, 2, 11)


def test_structure_without_attributes_has_one_column_per_block() -> None:
    names = StructureEncoding(SPACES["named"]).get_feature_names_out()
    assert list(names) == ["stage0.block=a", "stage0.block=b", "stage1.block=x", "stage1.block=y", "stage1.block=z"]


def test_costs_by_hand() -> None:
    space = blox(stages=2)
    codes = space.sample(5, seed=0)
    encoding = CostEncoding(space, costs=("flops",))
    features = encoding.transform(codes)
    assert list(encoding.get_feature_names_out()) == ["log_flops", "stage0.log_flops", "stage1.log_flops"]
    np.testing.assert_allclose(features[:, 0], np.log1p(space.flops(codes)), rtol=1e-6)
    rest = np.expm1(features[:, 1:].astype(float)).sum(axis=1) + space.fixed_costs["flops"]
    np.testing.assert_allclose(rest, space.flops(codes), rtol=1e-5)


def test_signatures_by_hand() -> None:
    space = SPACES["named"]
    tables = signatures_of(space)
    encoding = SignatureEncoding(space, tables, columns=("acc", "nsr"), teacher="second")
    row = encoding.transform([[1, 2]])[0]
    expected = [tables.table(c, "second")[s][b] for c in ("acc", "nsr") for s, b in ((0, 1), (1, 2))]
    np.testing.assert_allclose(row, expected, rtol=1e-6)
    assert list(encoding.get_feature_names_out()) == ["stage0.acc", "stage1.acc", "stage0.nsr", "stage1.nsr"]
    assert SignatureEncoding(space, tables).column_names() == ("nsr",)


def test_joined_encodings_stand_side_by_side() -> None:
    space = blox(stages=2)
    codes = space.sample(4, seed=0)
    both = make_encoding("signature+cost", space, signatures=signatures_of(space), costs=("params",))
    assert isinstance(both, FeatureUnion)
    parts = [SignatureEncoding(space, signatures_of(space)), CostEncoding(space, ("params",))]
    np.testing.assert_array_equal(both.transform(codes), np.hstack([p.transform(codes) for p in parts]))
    assert clone(both).transform(codes).shape == (4, 5)


@pytest.mark.parametrize("name", ["one_hot", "structure", "cost", "graph"])
def test_the_whole_space_encodes_without_a_loop(name: str) -> None:
    """A loop over 91,125 architectures in Python would make far more calls than there are lines here."""
    space = blox()
    codes = space.all_codes()
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    encoding = make_encoding(name, space)
    sys.setprofile(count)
    try:
        features = encoding.transform(codes)
    finally:
        sys.setprofile(None)
    assert len(features) == 91_125
    assert calls < 30_000


# -- errors and names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("onehot", {}, "unknown encoding 'onehot'; there are codes, cost, .*, graph, .*, one_hot, .*"),
        ("signature", {}, "needs block signatures"),
        ("cost", {}, "space 'named' knows no costs"),
        ("graph+one_hot", {}, "'graph' cannot be joined"),
        ("one_hot+one_hot", {}, "names a part twice"),
        ("graph", {"kind": "tabular"}, "'graph' does not suit here; codes, cost, .*, one_hot, .*, structure do"),
        ("signature", {"signatures": "made", "columns": ("kl",)}, "unknown signature column 'kl'; there are nsr, acc"),
    ],
)
def test_names_that_cannot_be_built(name: str, options: dict[str, object], message: str) -> None:
    if "signatures" in options:
        options = options | {"signatures": signatures_of(SPACES["named"])}
    with pytest.raises(ValueError, match=message):
        make_encoding(name, SPACES["named"], **options)


def test_unknown_cost_is_named() -> None:
    with pytest.raises(ValueError, match="unknown cost 'latency' of space 'blox-2'; there are flops, params"):
        make_encoding("cost", blox(stages=2), costs=("latency",))


def test_a_block_without_signature_is_named() -> None:
    space = SPACES["named"]
    encoding = SignatureEncoding(space, signatures_of(space, missing=3))
    with pytest.raises(ValueError, match="'nsr' of stage 1, block 'y' is missing"):
        encoding.transform([[0, 0]])


def test_signatures_of_another_space_are_refused() -> None:
    encoding = SignatureEncoding(SPACES["named"], signatures_of(blox(stages=2)))
    with pytest.raises(ValueError, match=r"describe \[45, 45\] blocks per stage, but space 'named' has \[2, 3\]"):
        encoding.transform([[0, 0]])


def test_a_registered_encoding_can_be_used_and_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_registry._ENCODINGS, "entries", dict(encoding_registry._ENCODINGS.entries))

    class IdSum(OneHotEncoding):
        def transform(self, X: object) -> np.ndarray:
            return self.canonical(X).sum(axis=1, keepdims=True).astype(np.float32)

        def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
            return np.array(["id_sum"], dtype=object)

    register_encoding("id_sum", IdSum)
    check_encoding(make_encoding("id_sum", SPACES["named"]))
    assert make_encoding("id_sum+one_hot", SPACES["named"]).transform([[1, 2]]).tolist() == [[3, 0, 1, 0, 0, 1]]
    with pytest.raises(ValueError, match="must not be empty or contain"):
        register_encoding("a+b", IdSum)


def test_importing_encodings_and_predictors_is_light() -> None:
    """Heavy libraries come with the first name that needs them."""
    script = (
        "import sys, archrank.encodings, archrank.predictors, archrank.predictors.registry as r\n"
        "assert r.list_predictors()\n"
        "print([m for m in ('torch', 'lightgbm', 'sklearn', 'pandas', 'torch_geometric') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
