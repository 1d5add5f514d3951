"""Questions to a table by architecture: what did this network reach, what does it cost?

A table stands in for training: a search asks it for one network or for ten thousand. Answers of the whole table are
computed once and kept, so that every later question is a look-up, 91,125 networks in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from archrank.benchmarks.answers import Answer, Answers, Seed
from archrank.benchmarks.latencies import latency_column, latency_columns
from archrank.spaces import BloxSpace


class Queries(Answers):
    """Answers from a table.

    Every method takes many architectures, as codes ``(n, n_stages)`` or, for BLOX, as a list of architecture vectors or
    an int array of their digits ``(n, n_stages, 5)``, and answers with float64 ``(n,)``; or one architecture, as a row
    of block ids or one vector, and answers with a float. Isomorphic forms of a network have one answer. What the
    table knows of other networks only is NaN. Curves of single precision are answered with the decimal numbers, of
    up to six places, that they were stored from.

    Common to the methods:

    ``seed``
        One seed, or "mean" over the seeds that each network has (the default). Nothing is drawn at random: the same
        question has the same answer.
    ``variant``
        "normal", or another way of training such as "distilled".
    ``epoch``
        Counted from 0. None is the last one that is recorded.
    ``best``
        Whether to answer with the best value of the epochs up to ``epoch``, as early stopping would choose it (highest
        accuracy, lowest loss), or with that of the epoch itself. Masked epochs count as not there. The best is taken
        of each seed first, and the mean over them then.

    Parameters
    ----------
    bench
        A table, such as `archrank.load_benchmark` gives.

    Raises
    ------
    TableError
        In all methods, for a network, quantity, epoch, seed, variant or device that the table does not have; the
        message says which there are.
    InvalidArchitectureError
        For what is no architecture of the space.

    Examples
    --------
    >>> import archrank
    >>> query = archrank.Queries(archrank.load_benchmark("blox-mini"))
    >>> query.val_acc([2, 0], epoch=1)
    27.02
    >>> query.params([[2, 0], [44, 44]])
    array([44834., 41082.])
    """

    def __repr__(self) -> str:
        return f"Queries({self.bench!r})"

    # -- values per epoch ---------------------------------------------------------------------

    def val_acc(
        self,
        codes: ArrayLike,
        epoch: int | None = None,
        best: bool = True,
        seed: Seed = "mean",
        variant: str = "normal",
    ) -> Answer:
        """Top-1 accuracy on the validation images."""
        return self._per_epoch("val_acc", codes, epoch, best, seed, variant)

    def val_loss(
        self,
        codes: ArrayLike,
        epoch: int | None = None,
        best: bool = True,
        seed: Seed = "mean",
        variant: str = "normal",
    ) -> Answer:
        """Loss on the validation images."""
        return self._per_epoch("val_loss", codes, epoch, best, seed, variant)

    def val_top5(
        self,
        codes: ArrayLike,
        epoch: int | None = None,
        best: bool = True,
        seed: Seed = "mean",
        variant: str = "normal",
    ) -> Answer:
        """Top-5 accuracy on the validation images."""
        return self._per_epoch("val_top5", codes, epoch, best, seed, variant)

    def train_acc(
        self,
        codes: ArrayLike,
        epoch: int | None = None,
        best: bool = True,
        seed: Seed = "mean",
        variant: str = "normal",
    ) -> Answer:
        """Top-1 accuracy on the training images, as recorded while training."""
        return self._per_epoch("train_acc", codes, epoch, best, seed, variant)

    def train_loss(
        self,
        codes: ArrayLike,
        epoch: int | None = None,
        best: bool = True,
        seed: Seed = "mean",
        variant: str = "normal",
    ) -> Answer:
        """Loss on the training images, as recorded while training."""
        return self._per_epoch("train_loss", codes, epoch, best, seed, variant)

    def train_top5(
        self,
        codes: ArrayLike,
        epoch: int | None = None,
        best: bool = True,
        seed: Seed = "mean",
        variant: str = "normal",
    ) -> Answer:
        """Top-5 accuracy on the training images, as recorded while training."""
        return self._per_epoch("train_top5", codes, epoch, best, seed, variant)

    # -- values of a whole training -------------------------------------------------------------

    def test_acc(self, codes: ArrayLike, seed: Seed = "mean", variant: str = "normal") -> Answer:
        """Top-1 accuracy on the test images."""
        return self._of_training("test_acc", codes, seed, variant)

    def test_loss(self, codes: ArrayLike, seed: Seed = "mean", variant: str = "normal") -> Answer:
        """Loss on the test images."""
        return self._of_training("test_loss", codes, seed, variant)

    def test_top5(self, codes: ArrayLike, seed: Seed = "mean", variant: str = "normal") -> Answer:
        """Top-5 accuracy on the test images."""
        return self._of_training("test_top5", codes, seed, variant)

    def train_time(self, codes: ArrayLike, seed: Seed = "mean", variant: str = "normal") -> Answer:
        """Time of the training, in the table's unit: seconds."""
        return self._of_training("train_time", codes, seed, variant)

    # -- costs ----------------------------------------------------------------------------------

    def params(self, codes: ArrayLike) -> Answer:
        """Trainable parameters, as the space counts them, or else in the table's unit."""
        return self._cost("params", codes)

    def flops(self, codes: ArrayLike) -> Answer:
        """FLOPs of one forward pass, as the space counts them, or else in the table's unit."""
        return self._cost("flops", codes)

    @property
    def devices(self) -> dict[str, str]:
        """Column of each device whose latency the table has, by the device's name."""
        return latency_columns(self.bench)

    def latency(
        self, codes: ArrayLike, device: str | None = None, seed: Seed = "mean", variant: str = "normal"
    ) -> Answer:
        """Latency on a device of `devices`, in the table's unit; `device` may be left out where there is one."""
        column = latency_column(self.bench, device)
        return self._pick(self._answer(column, None, None, self._seed(seed), variant), codes)

    # -- everything -----------------------------------------------------------------------------

    def full_info(self, codes: ArrayLike) -> dict[str, Any] | list[dict[str, Any]]:
        """All that the table knows of an architecture, ready for JSON; a list of such for many.

        Keys: ``code``, ``key``, ``blocks``; for BLOX ``arch_vec`` and ``hash``; the costs that the space knows; and
        ``trainings``, one dict for each variant and seed with ``variant``, ``seed``, each metric and each curve
        (a list, from epoch 0, None where masked). Values that are absent are left out.
        """
        rows, single = self._rows(codes)
        mine, space = self.bench.codes[rows], self.bench.space
        columns: dict[str, Sequence[Any]] = {
            "code": mine.tolist(),
            "key": space.keys(mine).tolist(),
            "blocks": space.names(mine).tolist(),
        }
        if isinstance(space, BloxSpace):
            columns |= {"arch_vec": space.arch_vectors(mine), "hash": space.hashes(mine).tolist()}
        columns |= {cost: space.cost(cost, mine).tolist() for cost in space.block_costs}
        infos = [
            dict(zip(columns, cells, strict=True)) | {"trainings": []} for cells in zip(*columns.values(), strict=True)
        ]
        for variant in self.bench.variants:
            for seed in self.bench.seeds:
                for info, values in zip(infos, self._trainings(rows, seed, variant), strict=True):
                    if values:
                        info["trainings"].append({"variant": variant, "seed": seed} | values)
        return infos[0] if single else infos
