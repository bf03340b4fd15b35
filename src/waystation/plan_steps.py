"""From a study's chains to their steps: each made once, however many chains share it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from waystation import backbones, study_checks
from waystation.backbones import Backbone
from waystation.errors import InputError
from waystation.plan_encodings import Encodings, scheme_of
from waystation.steps.recipes import Fusion, Recipe
from waystation.steps.records import (
    AdoptStep,
    EvaluateStep,
    LogitsStep,
    Part,
    Phase,
    Reading,
    SweepStep,
    Swept,
    TrainStep,
    TrunkStep,
)
from waystation.study import BASELINE, Study
from waystation.tasks import sources
from waystation.uses import Use

if TYPE_CHECKING:
    from waystation.plan import Plan


def fits(arm: Use | None, target: Use) -> bool:
    """Whether an arm (None: the baseline) is for this target."""
    return arm is None or arm.targets is None or target.label in arm.targets


def tested_in(study: Study, target: Use, data: Path | None) -> tuple[str, ...]:
    """Test languages of a target: the source language also unasked, but then only where its examples are at hand."""
    codes, asked = study.languages_of(target), target.languages or study.languages
    extra = study.source not in asked and "all" not in asked
    if extra and codes[:1] == (study.source,) and not sources.at_hand(study.find(target.task), "test", codes[0], data):
        return codes[1:] or codes
    return codes


class Builder:
    """Adds the steps of one chain after the other to a plan."""

    def __init__(self, made: Plan) -> None:
        self.made, self.study, self.data = made, made.study, made.data
        self.backbone = backbones.fingerprint(self.study.backbone)
        self.tokenizer = {key: value for key, value in self.backbone.items() if key != "layers"}
        self.read = Encodings(made, self.tokenizer)
        self._brought: dict[tuple[str, int], str | None] = {}

    def chain(self, group: str, arm: Use | None, target: Use, seed: int) -> None:
        """Add the chain of an arm (None: the baseline) to a target."""
        # a retrieval target is not trained: what came before it embeds the sentences
        untrained = self.study.find(target.task).format == "retrieval"
        if arm is not None and untrained and not arm.stops:
            return  # such an arm changes how targets are trained, and nothing here
        if not fits(arm, target):
            return
        parent = None if arm is None else self._before(arm, seed)
        intermediate = BASELINE if arm is None else arm.label
        name = f"{intermediate}+{target.label}.s{seed}"
        asked = self.study.under(target, arm)
        trained = parent if untrained else self._train("target", asked, seed, parent, name)
        evaluated = self._evaluate(asked, trained, name)
        self.made.chain(name, group, intermediate, target.label, seed, trained, evaluated)

    def _before(self, arm: Use, seed: int) -> str | None:
        """The model that an arm brings to its targets."""
        if (arm.label, seed) not in self._brought:
            parent, names = None, []
            for use in arm.after:
                names.append(use.label)
                parent = self._stop(use, seed, parent, "+".join(names))
            own = arm.task or arm.mlm
            self._brought[arm.label, seed] = self._stop(arm, seed, parent, arm.label) if own else parent
        return self._brought[arm.label, seed]

    def _stop(self, use: Use, seed: int, parent: str | None, name: str) -> str:
        if use.from_ is not None:
            return self._adopt(use)
        return self._train("intermediate", use, seed, parent, f"{name}.s{seed}")

    def _train(self, phase: Phase, use: Use, seed: int, parent: str | None, name: str) -> str:
        study, recipe = self.study, self.read.recipe(use, phase)
        texts = self.read.texts(use, recipe)
        if use.task:
            encodings = self.read.lessons(use, recipe)
            if recipe.fusion is not None and len(encodings) < 2:
                text = "fusion reads training texts beside their translations, and there are none"
                raise InputError(f"'{use.label}': {text}; translate them, or name languages with the same rows")
            task = study.find(use.trained_on)
            labels, format, scheme = study.labels_of(use), task.format, scheme_of(task)
        else:
            encodings, labels, format, scheme = list(texts.values())[:1], (), "mlm", "plain"
        trunk = None
        if recipe.frozen is not None and len(encodings) == 1 and not use.with_ and not texts:
            trunk = self._trunk(encodings[0], self._trunk_source(parent, recipe.frozen), recipe)
        step = TrainStep(
            phase=phase,
            task=use.task if use.with_ else use.label,  # of several each goes by its own name
            format=format,
            labels=labels,
            scheme=scheme,
            backbone=self.backbone,
            parent=parent,
            encoding=encodings[0],
            also=tuple(encodings[1:]),
            parts=self._parts(use, format, labels, scheme),
            texts=texts,
            recipe=recipe,
            subset=study.match if phase == "intermediate" else None,
            seed=seed,
            precision=study.precision,
            trunk=trunk,
        )
        if recipe.fusion is not None and recipe.fusion.alpha:
            step = step.model_copy(update={"teacher": self._teacher(step, recipe.fusion, name)})
        return self.made.add(step, f"train {name}")

    def _teacher(self, step: TrainStep, fusion: Fusion, name: str) -> str:
        """What the same training without a teacher says of the texts that it was trained on."""
        alone = step.recipe.model_copy(update={"fusion": fusion.teacher()})
        logits = LogitsStep(
            task=step.task,
            format=step.format,
            labels=step.labels,
            scheme=step.scheme,
            model=self.made.add(step.model_copy(update={"recipe": alone}), f"train the teacher of {name}"),
            fusion=fusion.teacher(),
            encodings=(step.encoding, *step.also),
            precision=step.precision,
            tokens_per_micro_batch=step.recipe.tokens_per_micro_batch,
        )
        return self.made.add(logits, f"teach {name}")

    def _parts(self, use: Use, format: str, labels: tuple[str, ...], scheme: str) -> tuple[Part, ...]:
        """The tasks beside one; where label spaces agree they share a head."""
        heads, found = [(format, labels, scheme)], []
        for other in use.with_:
            recipe, task = self.read.recipe(other, "intermediate"), self.study.find(other.task)
            own = (task.format, self.study.labels_of(other), scheme_of(task))
            part = Part(
                task=other.label,
                format=own[0],
                labels=own[1],
                scheme=own[2],
                encodings=tuple(self.read.lessons(other, recipe)),
                shares=heads.index(own) if own in heads else None,
                batch=recipe.batch,
            )
            heads.append(own)
            found.append(part)
        return tuple(found)

    def _adopt(self, use: Use) -> str:
        assert use.from_ is not None
        step = AdoptStep(
            task=use.label,
            backbone=self.backbone,
            checkpoint=backbones.fingerprint(Backbone(id=use.from_)),
            source=use.from_,
        )
        return self.made.add(step, f"adopt {use.label}")

    def _evaluate(self, use: Use, model: str | None, chain: str) -> str:
        recipe, task = self.read.recipe(use, "target"), self.study.find(use.task)
        labels = self.study.labels_of(use)
        codes = tested_in(self.study, use, self.data)
        retrieval = self._reading(use, codes)
        prefix = retrieval.prefix if retrieval else ""
        step = EvaluateStep(
            task=use.label,
            format=task.format,
            labels=labels,
            scheme=scheme_of(task),
            model=model,
            backbone=self.backbone if model is None else None,
            encodings=self.read.tests(use, recipe, codes, prefix),
            retrieval=retrieval,
            fusion=None if retrieval else recipe.fusion,
            partners=self.read.partners(use, recipe, codes) if recipe.fusion and not retrieval else {},
            precision=self.study.precision,
            tokens_per_micro_batch=recipe.tokens_per_micro_batch,
        )
        if model is not None and retrieval is None and recipe.frozen is not None and recipe.fusion is None:
            step = self._through_trunk(step, model, recipe)
        return self.made.add(step, f"evaluate {chain}")

    def _reading(self, use: Use, codes: tuple[str, ...]) -> Reading | Swept | None:
        """How a retrieval target is read; where a sweep says so, it is the baseline's: one reading for all arms."""
        asked = self.study.retrieval_of(use)
        if asked is None or isinstance(asked, Reading):
            return asked
        choosing = study_checks.choosing(self.study.find(use.task), use.retrieval)
        if set(codes) <= set(choosing):
            text = "all its languages stand in retrieval.sweep.on; leave one out, or test in more"
            raise InputError(f"target '{use.label}': no language is left to report, {text}")
        return Swept(**dict(asked), sweep=self.sweep(use, None, f"{BASELINE}+{use.label}"))

    def sweep(self, target: Use, model: str | None, chain: str) -> str:
        """Add the sweep of a retrieval target with a chain's model (None: the backbone); its identity."""
        recipe, task = self.read.recipe(target, "target"), self.study.find(target.task)
        asked, sweep = self.study.retrieval_of(target), study_checks.sweep(target.retrieval)
        assert asked is not None and sweep is not None
        labels = self.study.labels_of(target)
        step = SweepStep(
            task=target.label,
            model=model,
            backbone=self.backbone if model is None else None,
            encodings={
                code: self.read.one(target.task, "test", code, labels, target.labels, recipe, asked.prefix)
                for code in study_checks.choosing(task, target.retrieval)
            },
            retrieval=asked,
            sweep=sweep,
            precision=self.study.precision,
            tokens_per_micro_batch=recipe.tokens_per_micro_batch,
        )
        return self.made.add(step, f"sweep {chain}")

    def _through_trunk(self, step: EvaluateStep, model: str, recipe: Recipe) -> EvaluateStep:
        """The same evaluation from stored states, where the trunk is the backbone's own and so serves many models."""
        assert recipe.frozen is not None
        if self._trunk_source(model, recipe.frozen) is not None:
            return step
        trunks = {code: self._trunk(encoding, None, recipe) for code, encoding in step.encodings.items()}
        return step.model_copy(update={"frozen": recipe.frozen, "trunks": trunks})

    def _trunk(self, encoding: str, source: str | None, recipe: Recipe) -> str:
        assert recipe.frozen is not None
        step = TrunkStep(
            backbone=self.tokenizer,  # its depth does not matter to the lowest blocks
            source=source,
            blocks=recipe.frozen,
            encoding=encoding,
            precision=self.study.precision,
            max_bytes=recipe.trunk_gigabytes * 1e9,
            tokens_per_micro_batch=recipe.tokens_per_micro_batch,
        )
        of = "" if source is None else f" after {self.made.nodes[source].label.removeprefix('train ')}"
        shown = self.made.nodes[encoding].label.removeprefix("encode ")
        return self.made.add(step, f"trunk of {recipe.frozen} blocks{of}: {shown}")

    def _trunk_source(self, model: str | None, blocks: int) -> str | None:
        """The training that last changed the embedding or one of the lowest ``blocks``; None: it is the backbone's."""
        while model is not None:
            step = self.made.nodes[model].step
            if not isinstance(step, TrainStep) or step.recipe.frozen is None or step.recipe.frozen < blocks:
                return model
            model = step.parent
        return None
