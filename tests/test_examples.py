"""The examples run, and archrank's part in each does what it is for."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, needs: str) -> dict[str, Any]:
    """What an example leaves when it was run from the command line."""
    pytest.importorskip(needs, reason=f"the example needs {needs}")
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_every_example_is_run_here():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [p.name for p in EXAMPLES.glob("*.py") if f'run("{p.name}"' not in text] == []


def test_pymoo_finds_trade_offs(capsys):
    names = run("pymoo_nsga2.py", "pymoo")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    accuracy, params = (np.array([float(line[i]) for line in lines]) for i in (0, 2))
    assert len(lines) > 5
    assert (np.diff(accuracy) > 0).all()
    assert (np.diff(params) >= 0).all()
    # Nothing in the space is predicted better than the best found.
    every = names["model"].predict(names["bench"].space.all_codes())
    assert accuracy.max() == pytest.approx(every.max(), abs=0.01)


def test_optuna_trains_what_the_predictor_thinks_worth_it(capsys):
    names = run("optuna_study.py", "optuna")
    assert "pruned by the predictor" in capsys.readouterr().out
    study, codes, values = (names[name] for name in ("study", "codes", "values"))
    pruned = [t for t in study.trials if t.state.name == "PRUNED"]
    assert len(pruned) > 0
    assert len(pruned) + len(codes) == 60
    assert values[20:].mean() > values[:20].mean() + values[:20].std()
    # What was pruned is worse than what was trained.
    refused = [[t.params[stage] for stage in names["blocks"]] for t in pruned]
    assert names["train"](refused).mean() < values[20:].mean()


def test_botorch_ranks_by_our_mean_and_deviation(capsys):
    names = run("botorch_acquisition.py", "botorch")
    assert "20 trained: best" in capsys.readouterr().out
    torch, rows = names["torch"], names["rows"]
    assert len(set(rows)) == 20
    bench, truth = names["bench"], names["truth"]
    assert truth[rows[10:]].mean() > truth.mean() + truth.std()
    # Expected improvement by BoTorch is that of the formula.
    from scipy.stats import norm

    gp = names["archrank"].make_predictor("gp", bench, random_state=0).fit(bench.codes[rows], truth[rows])
    codes = bench.codes[:50]
    mean, std = gp.predict(codes, return_std=True)
    best = truth[rows].max()
    u = (mean - best) / std
    expected = np.log(std * (norm.pdf(u) + u * norm.cdf(u)))
    acquisition = names["LogExpectedImprovement"](names["Posterior"](gp, 1), best_f=float(best))
    found = acquisition(torch.from_numpy(codes).double()[:, None]).detach().numpy()
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_page_on_search_says_what_works(tmp_path, monkeypatch):
    """Its sections on several objectives and blockwise search, run as one script."""
    pytest.importorskip("pymoo", reason="the page needs pymoo")
    page = (EXAMPLES.parent / "docs" / "search.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", page[page.index("## Several objectives") :], re.S | re.M))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert Path("fronts.png").exists()
    assert len(names["front"]) > 5
    assert 0 < names["hypervolume"](names["trained"], names["reference"], {"test_acc": 100, "params": 0}) < 1


def test_an_adapter_takes_under_ten_lines():
    lines = (EXAMPLES / "botorch_acquisition.py").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("class Posterior"))
    body = lines[start : next(i for i, line in enumerate(lines) if line.startswith("def search"))]
    code = [line for line in body if line.strip() and not line.strip().startswith('"""')]
    assert len(code) < 10, code
