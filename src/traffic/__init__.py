"""The store of captured bodies: SQLite beside the journal, PostgreSQL, or an S3-compatible one; written by a
process of its own."""
