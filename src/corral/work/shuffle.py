"""Which row comes at place *i* of a shuffled sweep? A keyed permutation: no list, random access.

A generalised Feistel network (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002):
a number below ``a * b`` is a pair, and each round adds to one half what a mixing function makes of
the other. What falls outside the length is sent round again. The order belongs to (length, key)
for ever: the same command names the same tasks.
"""

from __future__ import annotations

from math import isqrt

ROUNDS = 6  # three make it a permutation that looks random; more help small lengths
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Permutation:
    """A permutation of ``range(length)``."""

    def __init__(self, length: int, key: int) -> None:
        self._length = length
        self._left = isqrt(max(length, 1) - 1) + 1
        self._right = -(-max(length, 1) // self._left)
        self._keys = [_mix(key * _GOLDEN + number) for number in range(1, ROUNDS + 1)]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> int:
        """Say which number comes at place ``index``."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        found = self._step(index)
        while found >= self._length:
            found = self._step(found)
        return found

    def _step(self, number: int) -> int:
        left, right = divmod(number, self._right)
        for at in range(0, ROUNDS, 2):
            left = (left + _mix(right ^ self._keys[at])) % self._left
            right = (right + _mix(left ^ self._keys[at + 1])) % self._right
        return left * self._right + right


def _mix(number: int) -> int:
    """Mix 64 bits: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014)."""
    number &= _MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31
