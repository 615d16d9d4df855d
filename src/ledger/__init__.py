"""Floor 3: the ledger, a database of all calls, fed from the journal of records (calls.jsonl) by a process
of its own; and what is asked of it: spend, reconciliation, other prices, export.
"""
