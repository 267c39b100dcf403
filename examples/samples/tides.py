"""Heights of the tide from a table of harmonic constituents."""

import math
from dataclasses import dataclass


@dataclass
class Constituent:
    name: str
    speed: float  # degrees per hour
    amplitude: float  # metres
    phase: float  # degrees


def height(hours: float, mean: float, constituents: list[Constituent]) -> float:
    total = mean
    for c in constituents:
        total += c.amplitude * math.cos(math.radians(c.speed * hours - c.phase))
    return total


if __name__ == "__main__":
    moon = Constituent("M2", 28.984, 1.37, 112.0)
    for hour in range(0, 25, 6):
        print(f"{hour:02d}:00  {height(hour, 2.1, [moon]):.2f} m")
