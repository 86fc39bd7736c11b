"""Record a planner's states in CoinRun as a folder of images that `holdfast run` reads.

Runs in an environment of its own, because procgen wants numpy<2: see README.md beside this file.

The planner searches best-first over macro-actions, from exact copies of the simulator's state; its key is how far to
the right the agent is. A tenth of the recorded steps are random, after which it plans anew.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import random
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple

ACTIONS = {"right": 7, "right-up": 8, "up": 5, "stay": 4, "left": 1}
CODES = tuple(ACTIONS.values())
FRAMES = (2, 4, 8)
EXPANSIONS = 1500
NOISE = 0.1
VISITS_PER_STATE = 2
AGENT_SIZE = struct.pack("<ff", 0.5, 0.5787)
"""Half the width and height of the agent: in a state these follow its position and velocity."""


class Node(NamedTuple):
    """A state that the search has reached, and the actions that lead there, one for each frame."""

    state: bytes
    actions: tuple[int, ...]


class Planner:
    """Finds actions to the coin.

    Args:
        level: The seed of the level.
    """

    def __init__(self, level: int) -> None:
        self.envs = make_envs(level, len(CODES))

    def plan(self, start: bytes) -> tuple[int, ...] | None:
        """Actions from a state to the coin, one for each frame; None where none are found."""
        ties = itertools.count()
        frontier = [(0.0, next(ties), Node(start, ()))]
        seen = {place(start)}
        for _ in range(EXPANSIONS):
            if not frontier:
                break
            *_, node = heapq.heappop(frontier)
            for child in self._children(node):
                if child.state == b"":
                    return child.actions
                if place(child.state) not in seen:
                    seen.add(place(child.state))
                    heapq.heappush(frontier, (-agent(child.state)[0], next(ties), child))
        return None

    def _children(self, node: Node) -> list[Node]:
        """What follows each macro-action that does not kill; one that gets the coin has an empty state."""
        import numpy as np

        self.envs.callmethod("set_state", [node.state] * len(CODES))
        alive, children = set(range(len(CODES))), []
        for frame in range(1, max(FRAMES) + 1):
            self.envs.act(np.array(CODES, dtype=np.int32))
            reward, _, first = self.envs.observe()
            for k in [k for k in alive if first[k]]:
                alive.discard(k)
                if reward[k] > 0:
                    children.append(Node(b"", node.actions + (CODES[k],) * frame))
            if frame in FRAMES and alive:
                states = self.envs.callmethod("get_state")
                children += [Node(states[k], node.actions + (CODES[k],) * frame) for k in alive]
        return children


def make_envs(level: int, count: int) -> Any:
    """Copies of one level."""
    from procgen import ProcgenGym3Env

    return ProcgenGym3Env(num=count, env_name="coinrun", start_level=level, num_levels=1, distribution_mode="easy")


def agent(state: bytes) -> tuple[float, ...]:
    """Position and velocity (x, y, vx, vy) of the agent in a serialized state."""
    end = state.find(AGENT_SIZE)
    if end < 16:
        raise ValueError("no agent in the state of the simulator: this version of procgen stores it otherwise")
    return struct.unpack("<4f", state[end - 16 : end])


def place(state: bytes) -> tuple[float, ...]:
    """Position and velocity to a tenth: states that agree in it are explored once."""
    return tuple(round(value, 1) for value in agent(state))


def visits(level: int, rng: random.Random, count: int) -> list[tuple[Any, int]]:
    """Pictures with the planner's actions, from whole runs; none where the planner finds no way."""
    import numpy as np

    planner, found = Planner(level), []
    while len(found) < count:
        env = make_envs(level, 1)
        plan, first = planner.plan(env.callmethod("get_state")[0]), False
        if plan is None:
            return []
        while plan and not first:
            found.append((env.observe()[1]["rgb"][0].copy(), plan[0]))
            astray = rng.random() < NOISE
            action = rng.choice(CODES) if astray else plan[0]
            env.act(np.array([action], dtype=np.int32))
            first = bool(env.observe()[2][0])
            if not first:
                plan = planner.plan(env.callmethod("get_state")[0]) if astray else plan[1:]
    return found


def record(folder: Path, roles: dict[str, int], states: int, seed: int) -> None:
    """Write pictures and metadata.csv; levels without a solution are left out and told."""
    from PIL import Image

    names, level, unsolved = {code: name for name, code in ACTIONS.items()}, 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "level", "action", "split"])
        for role in [role for role, levels in roles.items() for _ in range(levels)]:
            rng = random.Random(f"{seed} {level}")
            while not (found := visits(level, rng, VISITS_PER_STATE * states)):
                level, unsolved = level + 1, unsolved + 1
            for k, (picture, action) in enumerate(rng.sample(found, states)):
                name = f"level-{level:05d}/{k:05d}.png"
                (folder / name).parent.mkdir(exist_ok=True)
                Image.fromarray(picture).save(folder / name)
                table.writerow([name, f"level-{level:05d}", names[action], role])
            level += 1
    print(f"{level - unsolved} levels with {states} states each in {folder}; {unsolved} levels were not solved")


def main() -> int:
    """Record; exit code 2 where procgen is absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train-levels", type=int, default=64)
    parser.add_argument("--selection-levels", type=int, default=16)
    parser.add_argument("--test-levels", type=int, default=64)
    parser.add_argument("--states", type=int, default=1000, help="of each level")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        import procgen  # noqa: F401
    except ImportError:
        print(
            "record.py: procgen is absent: run pip install procgen-mirror in an environment of its own", file=sys.stderr
        )
        return 2
    roles = {"train": options.train_levels, "selection": options.selection_levels, "test": options.test_levels}
    record(options.folder, roles, options.states, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
