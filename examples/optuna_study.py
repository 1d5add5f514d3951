"""An Optuna study over a space that trains only what a predictor of archrank thinks worth it.

    pip install "archrank[examples]"
    python examples/optuna_study.py

Optuna suggests a block per stage. Once 20 networks are trained, a suggestion that the predictor does not place
among their best quarter is pruned before any training; Optuna is told the prediction and learns from it.
In place of a training stands another predictor, fitted to all of blox-mini.
"""

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

import archrank

bench = archrank.load_benchmark("blox-mini")
space, metric = bench.space, bench.metric()
blocks = {f"stage_{s}": CategoricalDistribution(list(range(n))) for s, n in enumerate(space.n_blocks)}
train = archrank.make_predictor("donna:structure+cost+signature", bench).fit(bench.codes, bench.values()).predict


def search(seed, trials=60, initial=20):
    """The study, and the networks and values that it trained, in order."""
    direction = "maximize" if metric.direction == "max" else "minimize"
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    scorer = archrank.make_predictor("gp", bench, random_state=0)
    codes, values = [], []
    for _ in range(trials):
        trial = study.ask(blocks)
        code = [trial.params[stage] for stage in blocks]
        if len(values) >= initial:  # all that archrank adds to the loop
            trial.report(prediction := scorer.predict([code])[0], step=0)
            if metric.sign * prediction < np.quantile(metric.sign * np.array(values), 0.75):
                study.tell(trial, state=TrialState.PRUNED)
                continue
        codes.append(code)
        values.append(train([code])[0])
        study.tell(trial, values[-1])
        if len(values) >= initial:
            scorer.fit(codes, values)
    return study, np.array(codes), np.array(values)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, codes, values = search(seed=0)
    print(f"{len(values)} trained, {len(study.trials) - len(values)} pruned by the predictor")
    print(f"mean of the first 20: {values[:20].mean():.2f} {metric.unit}, of the rest: {values[20:].mean():.2f}")
    print(f"best: {study.best_value:.2f} {metric.unit}")
