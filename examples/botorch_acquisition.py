"""An acquisition function of BoTorch over the Gaussian process of archrank.

    pip install "archrank[examples]"
    python examples/botorch_acquisition.py

BoTorch asks a model for one thing, its posterior. `Posterior` gives it that of any predictor with deviations
(gp, donna, gbdt, ensemble), so that every analytic acquisition function can rank a set of networks.
"""

import numpy as np
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.models.model import Model
from botorch.optim import optimize_acqf_discrete
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal

import archrank

bench = archrank.load_benchmark("blox-mini")
metric, truth = bench.metric(), bench.values()


class Posterior(Model):
    """A predictor as a BoTorch model; of several networks at once the deviations count as independent."""

    num_outputs, batch_shape = 1, torch.Size()

    def __init__(self, predictor, sign):
        super().__init__()
        self.predictor, self.sign = predictor, sign

    def posterior(self, X, *args, **kwargs):
        mean, std = self.predictor.predict(X.flatten(0, -2).numpy(), return_std=True)
        mean, std = (torch.from_numpy(a).view(X.shape[:-1]) for a in (self.sign * mean, std))
        return GPyTorchPosterior(MultivariateNormal(mean, torch.diag_embed(std**2)))


def search(seed, budget=20, initial=10):
    """Rows of the table in the order trained."""
    rows = np.random.default_rng(seed).permutation(len(truth))[:initial].tolist()
    while len(rows) < budget:
        gp = archrank.make_predictor("gp", bench, random_state=0).fit(bench.codes[rows], truth[rows])
        best = float((metric.sign * truth[rows]).max())
        left = np.setdiff1d(np.arange(len(truth)), rows)
        acquisition = LogExpectedImprovement(Posterior(gp, metric.sign), best_f=best)
        choices = torch.from_numpy(bench.codes[left]).double()
        chosen, _ = optimize_acqf_discrete(acquisition, q=1, choices=choices)
        rows.append(int(left[(choices == chosen).all(dim=1)][0]))
    return rows


if __name__ == "__main__":
    rows = search(seed=0)
    best = np.maximum.accumulate(metric.sign * truth[rows]) * metric.sign
    for n in (10, 15, 20):
        rank = int((metric.sign * truth > metric.sign * best[n - 1]).sum()) + 1
        print(f"{n} trained: best {best[n - 1]:.2f} {metric.unit}, place {rank} of {len(truth)}")
