"""A factor as a product of small ones."""

from __future__ import annotations


def prime_stages(factor: int) -> tuple[int, ...]:
    """Prime factors in rising order; none for 1.

    Examples
    --------
    >>> prime_stages(8), prime_stages(5), prime_stages(20), prime_stages(1)
    ((2, 2, 2), (5,), (2, 2, 5), ())
    """
    stages, divisor = [], 2
    while factor > 1:
        while factor % divisor == 0:
            stages.append(divisor)
            factor //= divisor
        divisor += 1
    return tuple(stages)


def cells_across(fine: int, factor: int) -> int:
    """Coarse cells to each side that hold the ``fine`` cells to each side of any fine cell.

    Examples
    --------
    >>> cells_across(1, 4), cells_across(5, 4), cells_across(0, 4)
    (1, 2, 0)
    """
    return -(-fine // factor)
