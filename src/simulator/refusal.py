"""A request that the real provider would refuse."""

from .script import ErrorText


class Refusal(Exception):
    """`kind`, `code` and `param` are said where the dialect's errors have a place for them.

    `kind` None is the type that the provider uses for the status.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param = status, param
        self.text = ErrorText(type=kind, message=message, code=code)
