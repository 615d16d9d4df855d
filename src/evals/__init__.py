"""Evaluations: cases are put to candidates through the broker itself, scored, and compared.

All but `client`, `folder`, `kept` and `runner` is pure.
"""
