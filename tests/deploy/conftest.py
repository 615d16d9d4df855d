from support.authorities import one_authority

__all__ = ["one_authority"]
