"""Chains by name: the model at the end of one, what training it once more takes, and systems from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

from waystation.errors import InputError, suggest
from waystation.plan import Chain, Plan
from waystation.steps.records import EncodeStep, EvaluateStep
from waystation.store import Store

IMPORTED = "imported.json"
"""File of an imported artifact that says where its predictions come from; by it the artifact is found."""

SWEEP = "sweep.json"
"""File of a sweep: rows of ``layer``, ``pooling``, ``scores`` by language and their ``mean``, in points."""


@dataclass(frozen=True)
class Imported:
    """A system whose predictions were imported: one more chain of a target, without a seed and without training.

    ``evaluate`` is the artifact that holds them, as a chain's is.
    """

    name: str
    intermediate: str
    target: str
    evaluate: str
    group: str = "imported"
    seed: None = None


def find(made: Plan, name: str) -> Chain:
    """The chain of a plan with this name."""
    for chain in made.chains:
        if chain.name == name:
            return chain
    known = [chain.name for chain in made.chains]
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    raise InputError(f"study '{made.study.study}' has no chain '{name}'{suggest(name, known)}: it has {shown}")


def evaluation(made: Plan, chain: Chain) -> EvaluateStep:
    """The step that evaluates a chain."""
    step = made.nodes[chain.evaluate].step
    assert isinstance(step, EvaluateStep)
    return step


def tested(made: Plan, target: str) -> dict[str, EncodeStep]:
    """Language → the encoding of a target's test examples."""
    chain = next(chain for chain in made.chains if chain.target == target)
    found = {}
    for code, key in evaluation(made, chain).encodings.items():
        step = made.nodes[key].step
        assert isinstance(step, EncodeStep)
        found[code] = step
    return found


def trained(made: Plan, chain: Chain) -> str:
    """Identity of the model that was trained for a chain's target; InputError where none is."""
    target = next(use for use in made.study.target if use.label == chain.target)
    if chain.train is None or made.study.find(target.task).format == "retrieval":
        raise InputError(
            f"chain '{chain.name}': nothing is trained for '{chain.target}', which is retrieval; name a chain of "
            "another target"
        )
    return chain.train


def model(made: Plan, store: Store, chain: Chain) -> str:
    """``trained``, for use: InputError also where the store does not hold the model, or only its head."""
    key = trained(made, chain)
    if not store.has(key):
        why = "only the head was kept of" if store.known(key) else f"{store.root} does not hold"
        raise InputError(f"chain '{chain.name}': {why} its model; add --train to train it now")
    return key


def only_model(made: Plan, chain: Chain) -> Plan:
    """The steps that lead to a chain's model as a plan of their own, which ends there instead of at scores."""
    return Plan(made.study, made.data, made.nodes, [replace(chain, evaluate=trained(made, chain))])


def imported(made: Plan, store: Store) -> list[Imported]:
    """Systems whose predictions were imported for the targets of a plan: for the very examples that it tests on."""
    encodings = {chain.target: evaluation(made, chain).encodings for chain in made.chains}
    found = []
    for path in sorted((store.root / "artifacts").glob(f"*/{IMPORTED}")):
        if store.has(path.parent.name):
            step = store.manifest(path.parent.name)["step"]
            if step["encodings"].items() <= encodings.get(step["task"], {}).items():
                name = f"{step['system']}+{step['task']}"
                found.append(Imported(name, step["system"], step["task"], path.parent.name))
    return sorted(found, key=lambda one: one.name)
