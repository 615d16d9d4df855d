"""Secrets that are kept in stores: fetched, good on while a store is away, fetched again in time."""
