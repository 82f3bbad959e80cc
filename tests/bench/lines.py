"""What a bench reports: a value, what it is held against in the same run, and the goal."""

from __future__ import annotations

from typing import Any, TypeAlias

Line: TypeAlias = dict[str, Any]


def at_least(name: str, value: float, unit: str, baseline: str, against: float, goal: float | None) -> Line:
    """A value that is to be at least `goal` times the baseline's, or only told where that is None."""
    return _line(
        name, value, unit, baseline, against, goal and f"at least {goal:g} times", value >= (goal or 0) * against
    )


def at_most(name: str, value: float, unit: str, baseline: str, against: float, goal: float | None) -> Line:
    """A value that is to be at most `goal` times the baseline's, or only told where that is None."""
    return _line(
        name, value, unit, baseline, against, goal and f"at most {goal:g} times", value <= (goal or 0) * against
    )


def _line(name: str, value: float, unit: str, baseline: str, against: float, goal: Any, met: bool) -> Line:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "baseline_value": against,
        "ratio": value / against,
        "goal": goal,
        "met": met if goal else None,
    }
