"""Counts of a server in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# Seconds; a cached answer takes a millisecond, a long one on a CPU minutes. Source: ours
BUCKETS = (0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
Labels = tuple[tuple[str, str], ...]


@dataclass
class Metrics:
    """Counters, one histogram, and gauges that are read when they are asked for.

    Only the event loop writes them. `labelled` are gauges of several values.
    """

    labelled: dict[str, tuple[str, Callable[[], Mapping[Labels, float]]]] = field(
        default_factory=dict
    )
    gauges: dict[str, tuple[str, Callable[[], float]]] = field(default_factory=dict)
    _counts: dict[str, dict[Labels, float]] = field(default_factory=dict)
    _helps: dict[str, str] = field(default_factory=dict)
    _times: dict[Labels, list[int]] = field(default_factory=dict)
    _sums: dict[Labels, float] = field(default_factory=dict)

    def count(self, name: str, help: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        self._helps[name] = help
        own = self._counts.setdefault(name, {})
        key = tuple(sorted(labels.items()))
        own[key] = own.get(key, 0.0) + amount

    def took(self, seconds: float, **labels: str) -> None:
        """Add to the histogram of how long requests took."""
        key = tuple(sorted(labels.items()))
        counts = self._times.setdefault(key, [0] * (len(BUCKETS) + 1))
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._sums[key] = self._sums.get(key, 0.0) + seconds

    def text(self) -> str:
        """All of it.

        >>> metrics = Metrics()
        >>> metrics.count("steelyard_requests_total", "Requests.", status="200")
        >>> print(metrics.text(), end="")
        # HELP steelyard_requests_total Requests.
        # TYPE steelyard_requests_total counter
        steelyard_requests_total{status="200"} 1
        """
        lines = []
        for name, values in self._counts.items():
            lines += [f"# HELP {name} {self._helps[name]}", f"# TYPE {name} counter"]
            lines += [f"{name}{_written(key)} {value:g}" for key, value in values.items()]
        for name, (help, read) in self.gauges.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} gauge", f"{name} {read():g}"]
        for name, (help, read_all) in self.labelled.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_written(key)} {value:g}" for key, value in read_all().items()]
        if self._times:
            lines += self._histogram("steelyard_request_seconds")
        return "".join(f"{line}\n" for line in lines)

    def _histogram(self, name: str) -> list[str]:
        lines = [f"# HELP {name} How long requests took.", f"# TYPE {name} histogram"]
        for key, counts in self._times.items():
            total = 0
            for bound, number in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += number
                lines.append(f"{name}_bucket{_written((*key, ('le', bound)))} {total}")
            lines.append(f"{name}_sum{_written(key)} {self._sums[key]:g}")
            lines.append(f"{name}_count{_written(key)} {total}")
        return lines


def _written(labels: Mapping[str, str] | Labels) -> str:
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    inside = ",".join(f'{key}="{_escaped(value)}"' for key, value in pairs)
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
