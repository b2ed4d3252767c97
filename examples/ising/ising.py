"""One Monte Carlo run of the two-dimensional Ising model: prints the magnetisation.

Single spin flips after Metropolis (J. Chem. Phys. 21, 1087, 1953), on an L x L lattice with
periodic edges, spins up at the start. Standard library only.

    python3 ising.py -T 2.3 -L 16 -s 1      prints: m=0.6912 e=-1.3847
"""

import argparse
import math
import random


def main() -> None:
    """Read the parameters, warm up, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-T", "--temperature", type=float, required=True)
    parser.add_argument("-L", "--size", type=int, default=16)
    parser.add_argument("-s", "--seed", type=int, default=1)
    parser.add_argument("-n", "--sweeps", type=int, default=300)
    given = parser.parse_args()
    m, e = simulate(given.temperature, given.size, given.sweeps, random.Random(given.seed))
    print(f"m={m:.4f} e={e:.4f}")


def simulate(
    temperature: float, size: int, sweeps: int, chance: random.Random
) -> tuple[float, float]:
    """Give the mean absolute magnetisation and energy per spin after a warm-up."""
    spins = [1] * (size * size)
    right = [i + 1 - size * ((i + 1) % size == 0) for i in range(size * size)]
    down = [(i + size) % (size * size) for i in range(size * size)]
    left = [0] * (size * size)
    up = [0] * (size * size)
    for i in range(size * size):
        left[right[i]] = i
        up[down[i]] = i
    flip = {change: math.exp(-change / temperature) for change in (4, 8)}
    total_m = total_e = 0.0
    warm_up = sweeps // 4
    for sweep in range(warm_up + sweeps):
        for i in range(size * size):
            change = (
                2 * spins[i] * (spins[right[i]] + spins[left[i]] + spins[up[i]] + spins[down[i]])
            )
            if change <= 0 or chance.random() < flip[change]:
                spins[i] = -spins[i]
        if sweep >= warm_up:
            total_m += abs(sum(spins)) / len(spins)
            bonds = sum(s * (spins[right[i]] + spins[down[i]]) for i, s in enumerate(spins))
            total_e -= bonds / len(spins)
    return total_m / sweeps, total_e / sweeps


if __name__ == "__main__":
    main()
