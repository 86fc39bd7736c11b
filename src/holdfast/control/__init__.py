"""Decision processes: worlds with exact rules, planners, and policies that act in them."""

from holdfast.control.environment import gymnasium_env
from holdfast.control.grid_runner import Action, GridRunner, State
from holdfast.control.levels import Cell, Level, draw_level
from holdfast.control.planner import Plan, solvable_level, visited_states
from holdfast.control.simulator import GridRunnerSimulator

__all__ = [
    "Action",
    "Cell",
    "GridRunner",
    "GridRunnerSimulator",
    "Level",
    "Plan",
    "State",
    "draw_level",
    "gymnasium_env",
    "solvable_level",
    "visited_states",
]
