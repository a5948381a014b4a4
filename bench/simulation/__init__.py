"""A simulation of eleven regions; `bench/simulate.py` runs it."""
