"""Search methods that ask for networks and are told their values."""

from archrank.search.base import Search, SearchExhaustedError
from archrank.search.evolution import EvolutionSearch
from archrank.search.local import LocalSearch
from archrank.search.random import RandomSearch
from archrank.search.registry import list_searches, make_search, register_search
from archrank.search.reinforce import ReinforceSearch
from archrank.search.run import History, run, table_objective

__all__ = [
    "EvolutionSearch",
    "History",
    "LocalSearch",
    "RandomSearch",
    "ReinforceSearch",
    "Search",
    "SearchExhaustedError",
    "list_searches",
    "make_search",
    "register_search",
    "run",
    "table_objective",
]
