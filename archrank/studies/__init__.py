"""Questions of the field, each answered by one command on any table that holds what it needs."""

from archrank.studies.base import Study
from archrank.studies.registry import list_studies, run_study

__all__ = ["Study", "list_studies", "run_study"]
