"""Search methods that ask for networks and are told their values."""

from archrank.search.base import Search, SearchExhaustedError
from archrank.search.random import RandomSearch

__all__ = ["RandomSearch", "Search", "SearchExhaustedError"]
