"""Fitted predictors on disk, without pickle; `archrank.predictors.model_folder` says how the files look.

``config.json`` holds the values of the model's `State`, see `archrank.predictors.pipeline_state`. Of a
`ConformalPredictor` it holds ``wrapper`` besides, and the states of its pipelines are nested in it.
"""

from __future__ import annotations

from pathlib import Path

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from archrank.predictors.base import State
from archrank.predictors.conformal import ConformalPredictor
from archrank.predictors.model_folder import ModelFolderError, read_model, write_model
from archrank.predictors.pipeline_state import pipeline_of, state_of

_CONFORMAL = State({"wrapper": "conformal"})


def save(model: Pipeline | ConformalPredictor, folder: str | Path) -> Path:
    """Write a fitted predictor to a folder, all of it or nothing.

    Parameters
    ----------
    model
        Pipeline of `archrank.make_predictor`, or a `ConformalPredictor` around one.
    folder
        Where to; a model that is there already is replaced.

    Returns
    -------
    The folder.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        For a model that has not been fitted.
    ValueError
        For a regressor that is not registered, a parameter or a learnt value that JSON cannot hold, or a folder
        that holds something else.
    """
    check_is_fitted(model)
    state = _CONFORMAL | model.get_state() if isinstance(model, ConformalPredictor) else state_of(model)
    write_model(Path(folder), state.values, state.arrays, state.texts)
    return Path(folder)


def load(folder: str | Path) -> Pipeline | ConformalPredictor:
    """Read a predictor that `save` wrote: the same model over codes, with the same predictions.

    Only registered predictors and encodings are made; those of an installed extension register themselves.

    Raises
    ------
    ModelFolderError
        For a missing, incomplete or altered folder, one of a newer format, or one whose parts do not belong
        together, so that the model gives no finite predictions.
    """
    path = Path(folder)
    try:
        state = State(*read_model(path))
        return ConformalPredictor.from_state(state) if "wrapper" in state.values else pipeline_of(state)
    except ModelFolderError:
        raise
    except Exception as error:  # set_state is anybody's code, and LightGBM's and torch's errors have no common kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelFolderError(
            f"{path} cannot be made into a model: {reason}; import or install what it needs, or save it again"
        ) from error
