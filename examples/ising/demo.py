"""``make demo``: sweep the Ising model over temperature, size and replicates, and show the answer.

It does what a person would: one ``corral run``, then reads results.csv and output.txt.
"""

import csv
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

COMMAND = "python3 ising.py -T {1.4..3.4:.2} -L {8,16,32} -s {seed}"
REPLICATES = "4"
HEIGHT = 12  # lines of the picture
EXACT_TC = 2.269  # Onsager, Phys. Rev. 65, 117 (1944)


def main() -> int:
    """Run the sweep in a folder of its own and show what came out."""
    place = Path(__file__).parents[2] / "build" / "demo"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("ising.py"), place)
    print(f"$ cd {place}\n$ corral run --name ising -r{REPLICATES} '{COMMAND}'", flush=True)
    words = ["run", "--name", "ising", f"-r{REPLICATES}", COMMAND]
    done = subprocess.run([sys.executable, "-m", "corral", *words], cwd=place, check=False)
    if done.returncode:
        return done.returncode
    means = read(place / "results" / "ising")
    table(means)
    picture(means)
    print(f"\nresults: {place / 'results' / 'ising'}")
    print("the same command again runs nothing: every result is there already")
    return 0


def read(folder: Path) -> dict[str, dict[float, list[float]]]:
    """Give the magnetisations by size and temperature: rows of results.csv, lines of output.txt."""
    with (folder / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["state"] == "done"]
    lines = (folder / "output.txt").read_text().splitlines()
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row, line in zip(rows, lines, strict=True):
        magnetisation = float(line.split()[0].removeprefix("m="))
        found[row["L"]][float(row["T"])].append(magnetisation)
    return found


def table(means: dict[str, dict[float, list[float]]]) -> None:
    """Print magnetisation against temperature, with the spread over the replicates."""
    print("\n     T" + "".join(f"    m (L={size})     " for size in means))
    for temperature in sorted(next(iter(means.values()))):
        cells = [
            f"{statistics.mean(values[temperature]):8.3f} ±{statistics.stdev(values[temperature]):5.3f}  "
            for values in means.values()
        ]
        print(f"  {temperature:4.1f}" + "  ".join(cells))


def picture(means: dict[str, dict[float, list[float]]]) -> None:
    """Draw the largest lattice's magnetisation in the terminal."""
    size, values = max(means.items(), key=lambda item: int(item[0]))
    points = [(t, statistics.mean(m)) for t, m in sorted(values.items())]
    print(f"\n  magnetisation, L={size}; the exact critical temperature is {EXACT_TC}")
    for row in range(HEIGHT, -1, -1):
        level = row / HEIGHT
        line = "".join(
            "  o  " if abs(m - level) <= 0.5 / HEIGHT else "  .  " if m > level else "     "
            for _, m in points
        )
        print(f"  {level:4.2f} |{line}")
    print("       +" + "-" * (5 * len(points)))
    print("        " + "".join(f"{t:^5.1f}" for t, _ in points) + " T")


if __name__ == "__main__":
    sys.exit(main())
