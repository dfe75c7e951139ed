"""HiGHS, the solver: https://highs.dev. Imported on first use, since it is an extra.

One thread and a fixed seed, so that the same program gets the same answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from hwnas.errors import HwnasError, MissingExtra
from hwnas.select.milp.model import Floats, Model

__all__ = ["FEASIBLE", "Relaxed", "Solved", "maximise", "relax", "solver"]

_SMALL = 600
"""Columns up to which looking for good solutions on the side costs more than it saves.

Programs of a space come with a good solution or find one at once, and what takes time is the proof:
on 20 slots of 9 choices it is 5 times quicker so.
"""

_PLAIN: dict[str, object] = {
    "mip_allow_restart": False,
    "mip_allow_cut_separation_at_nodes": False,
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
}

FEASIBLE = 1e-9
"""By how much a constraint may be broken; constraints are scaled to be about 1."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The optimum with fractions allowed: a bound on that without.

    Attributes:
        value: of the objective.
        x: shape (columns,).
        reduced: what one more of each column at 0 would add, shape (columns,).
        duals: what one more of each constraint's bound would add, shape (rows,).
    """

    value: float
    x: Floats
    reduced: Floats
    duals: Floats


@dataclass(frozen=True, eq=False)
class Solved:
    """What is known when the solver ends.

    Attributes:
        x: the best found, whole where it must be; None if there is none.
        value: of the objective there; minus infinity if there is none.
        bound: nothing is better than that; minus infinity if nothing is possible.
    """

    x: Floats | None
    value: float
    bound: float


def _highspy() -> Any:
    try:
        return import_module("highspy")
    except ImportError:
        raise MissingExtra("highspy", "search") from None


def solver() -> str:
    """Name and version of the solver, such as ``HiGHS 1.15.1``.

    Raises:
        MissingExtra: it is not installed.
    """
    return f"HiGHS {_highspy().Highs().version()}"


def relax(model: Model) -> Relaxed | None:
    """Solve with fractions allowed; None if even so nothing is possible."""
    highspy = _highspy()
    highs = _run(highspy, model, whole=False, seconds=math.inf)
    status = highs.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return None
    if status != highspy.HighsModelStatus.kOptimal:
        raise _trouble(highs)
    found = highs.getSolution()
    return Relaxed(
        value=float(highs.getInfo().objective_function_value),
        x=np.array(found.col_value),
        reduced=np.array(found.col_dual),
        duals=np.array(found.row_dual),
    )


def maximise(model: Model, seconds: float, start: Floats | None = None) -> Solved:
    """Solve, for at most so many seconds.

    Args:
        model: what to solve.
        seconds: after that, the best that was found is given with what is known to bound it.
        start: a solution to begin with, shape (columns,).

    Raises:
        HwnasError: the solver fails.
    """
    highspy = _highspy()
    highs = _run(highspy, model, whole=True, seconds=seconds, start=start)
    status = highs.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return Solved(None, -math.inf, -math.inf)
    info = highs.getInfo()
    stopped = status == highspy.HighsModelStatus.kTimeLimit
    if status != highspy.HighsModelStatus.kOptimal and not stopped:
        raise _trouble(highs)
    x, value = None, -math.inf
    if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        x = np.array(highs.getSolution().col_value)
        x[model.whole] = np.round(x[model.whole])
        value = float(model.gain @ x)
    bound = float(info.mip_dual_bound) if stopped else value
    return Solved(x, value, max(bound, value) if not math.isnan(bound) else math.inf)


def _run(
    highspy: Any, model: Model, *, whole: bool, seconds: float, start: Floats | None = None
) -> Any:
    highs = highspy.Highs()
    options: dict[str, object] = {
        "output_flag": False,
        "threads": 1,
        "random_seed": 0,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": 1e-7,
        "mip_feasibility_tolerance": FEASIBLE,
        "primal_feasibility_tolerance": FEASIBLE,
        "dual_feasibility_tolerance": FEASIBLE,
        "small_matrix_value": 1e-12,
    }
    if len(model.gain) <= _SMALL:
        options |= _PLAIN
    if math.isfinite(seconds):
        options["time_limit"] = max(seconds, 0.0)
    for name, value in options.items():
        highs.setOptionValue(name, value)
    highs.passModel(_program(highspy, model, whole))
    if start is not None:
        solution = highspy.HighsSolution()
        solution.col_value = start.tolist()
        solution.value_valid = True
        highs.setSolution(solution)
    highs.run()
    return highs


def _program(highspy: Any, model: Model, whole: bool) -> Any:
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(model.gain), len(model.lower)
    program.sense_ = highspy.ObjSense.kMaximize
    program.col_cost_ = model.gain
    program.col_lower_ = np.zeros(len(model.gain))
    program.col_upper_ = model.top
    program.row_lower_, program.row_upper_ = model.lower, model.upper
    matrix = program.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    counts = np.bincount(model.row, minlength=len(model.lower))
    matrix.start_ = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    matrix.index_ = model.column.astype(np.int32)
    matrix.value_ = model.value
    if whole:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        program.integrality_ = [kinds[int(is_whole)] for is_whole in model.whole]
    return program


def _trouble(highs: Any) -> HwnasError:
    said = highs.modelStatusToString(highs.getModelStatus())
    return HwnasError(
        f"the solver ended without an answer: {said}",
        "look for costs or qualities that are out of all proportion; else select with "
        "--method search",
    )
