"""The refusal of a request: a status and a reason that names no file of the client."""

from __future__ import annotations

from http import HTTPStatus


class Refusal(Exception):  # noqa: N818  (an answer, not an error of the program)
    """An answer to a request that cannot be fulfilled.

    Parameters
    ----------
    status : HTTPStatus
        Status of the answer.
    detail : str
        What is wrong, and how to mend it.
    retry_after : int, optional
        Seconds after which it may succeed.
    """

    def __init__(self, status: HTTPStatus, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
