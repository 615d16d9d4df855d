"""`modelbroker drill`: members fail in every way, and what clients see is held against what is promised."""
