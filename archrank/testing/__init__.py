"""Checks of the contracts for spaces, benchmarks, encodings, predictors and searches, for ours and for yours.

Each check raises `AssertionError` with the broken rule. ``pytest`` is not needed.

Examples
--------
>>> from archrank.spaces import MacroSpace
>>> from archrank.encodings import OneHotEncoding
>>> space = MacroSpace.from_blocks([["a", "b"], ["x", "y", "z"]])
>>> check_space(space)
>>> check_encoding(OneHotEncoding(space))
"""

from archrank.testing._benchmarks import check_benchmark
from archrank.testing._encodings import check_encoding
from archrank.testing._predictors import check_predictor, check_regressor
from archrank.testing._searches import check_search
from archrank.testing._spaces import check_space

__all__ = ["check_benchmark", "check_encoding", "check_predictor", "check_regressor", "check_search", "check_space"]
