"""Your own NSGA-II of pymoo over a predictor and a cost.

    pip install "archrank[search]"
    python examples/pymoo_nsga2.py

`archrank.search.nsga2.pareto_search` does the same with operators that know that block ids are no numbers.
"""

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

import archrank

bench = archrank.load_benchmark("blox-mini")
train = bench.codes[:100]
model = archrank.make_predictor("donna", bench).fit(train, bench.values()[:100])


class Networks(Problem):
    """Predicted accuracy, to be minimised with its sign turned, and parameters of a whole population in one call."""

    def __init__(self):
        super().__init__(bench.space.stages, 2, xl=0, xu=max(bench.space.n_blocks) - 1, vtype=int)

    def _evaluate(self, X, out, *args, **kwargs):
        out["F"] = np.column_stack([-model.predict(X), bench.space.params(X)])


if __name__ == "__main__":
    algorithm = NSGA2(
        60,
        sampling=IntegerRandomSampling(),
        crossover=UniformCrossover(),
        mutation=PM(repair=RoundingRepair()),
        repair=RoundingRepair(),
        eliminate_duplicates=True,
    )
    result = minimize(Networks(), algorithm, ("n_gen", 30), seed=0)
    order = result.F[:, 1].argsort()
    for code, (accuracy, params) in zip(result.X[order], result.F[order], strict=True):
        print(f"{-accuracy:6.2f} % {params / 1e6:6.3f} M  {' '.join(bench.space.names([code])[0])}")
