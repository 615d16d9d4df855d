"""Floor 2: what another configuration would have made of recorded calls. No I/O, clock or randomness.

Calls are decided again by the very functions that serve them (`policy.decide`, `exchange.Budgeting`).
"""
