"""Find the rows that cause a batch to be refused."""

from __future__ import annotations

from collections.abc import Callable

from embcompat.errors import SpaceMismatchError, StoreError


def isolate(
    count: int, attempt: Callable[[slice], None], *, limit: int, blame: type[Exception] = StoreError
) -> dict[int, str]:
    """Do ``attempt`` on rows 0 … count − 1, in one go where possible, and find the rows that it refuses by bisection.

    Args:
        count: Number of rows.
        attempt: Raises, having done nothing that may not be done twice, when it refuses one of the rows.
        limit: Single rows refused one after the other before the rows are no longer to blame.
        blame: The errors that mean a refusal; any other error ends the search and is raised.

    Returns:
        The reason for each refused row.

    Raises:
        SpaceMismatchError: If ``attempt`` raises it: then no row is to blame.
        StoreError: If row after row is refused.

    Example:
        >>> def attempt(rows):
        ...     if rows.start <= 5 < rows.stop:
        ...         raise StoreError("five is right out")
        >>> isolate(8, attempt, limit=2)
        {5: 'five is right out'}
    """
    refusals: dict[int, str] = {}
    in_a_row = 0
    waiting = [slice(0, count)] if count else []
    while waiting:
        rows = waiting.pop()
        try:
            attempt(rows)
            in_a_row = 0
        except SpaceMismatchError:
            raise
        except blame as error:
            if rows.stop - rows.start > 1:
                middle = (rows.start + rows.stop) // 2
                waiting += [slice(middle, rows.stop), slice(rows.start, middle)]
                continue
            refusals[rows.start] = str(error) or type(error).__name__
            in_a_row += 1
            if in_a_row >= limit:
                raise StoreError(
                    f"every row is refused, so the cause is not in the rows. The last reason: {error}. Check the "
                    "store, and the model if there is one."
                ) from error
    return refusals
