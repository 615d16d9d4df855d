"""Configurations in git, and the revisions that were live, kept in the state folder."""
