"""Columns of a history as a pandas DataFrame. The only module here that imports pandas, and only when called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def frame(columns: dict[str, list[Any]]) -> pandas.DataFrame:
    """Return the columns as a DataFrame in which every integer has its exact value.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd

    def exact(values: list[Any]) -> Any:
        """Return a column of integers with gaps as nullable integers; pandas would convert them to floats."""
        numbers = [value for value in values if value is not None]
        if len(numbers) == len(values) or not numbers or any(type(value) is not int for value in numbers):
            return values
        low, high = min(numbers), max(numbers)
        dtype = "Int64" if low >= -(2**63) and high < 2**63 else "UInt64" if low >= 0 else "object"
        return pd.array(values, dtype=dtype)

    return pd.DataFrame({name: exact(values) for name, values in columns.items()})
