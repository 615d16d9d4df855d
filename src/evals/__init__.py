"""Evaluations: cases are put to candidates through the broker itself, scored, and compared.

All but `client`, `folder` and `runner` is pure.
"""
