"""The two sides of a training row, as bodies of child processes: this engine, and transformers' Trainer.

Both run their whole loop as it is, paused at the end of each optimizer step by the callback that each of them has for
its users. Same windows in the same batches, same optimizer, schedule, clipping, dropout and precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.workloads import PAD, Workload, features
from waystation import formats
from waystation.models.backbone import Checkpoint
from waystation.models.encoder import TaskModel
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup
from waystation.steps.recipes import Recipe
from waystation.training.batches import Sampler
from waystation.training.loop import Job, train
from waystation.training.streams import TaskStream

STEPS = 512
"""Updates that both schedules are laid out for: more than any row takes."""

RATE, DROPOUT = 5e-5, 0.1
"""The rate of transformers' TrainingArguments, and the hidden dropout of BERT and XLM-R."""

AUTO = {
    "classification": "AutoModelForSequenceClassification",
    "tagging": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
}


@dataclass(frozen=True)
class Way:
    """How a side is run. The Trainer: as its example scripts ship, unless a field says otherwise.

    ``frozen``: that many lowest blocks, and the embedding, are not trained and have no dropout. The rest is for the
    Trainer: ``grouped``: batches as its ``group_by_length`` makes them; ``device_batch``: the rest of the effective
    batch is accumulated (None: no accumulation); ``dynamic``: pad to the longest of a batch even where the script pads
    further.
    """

    attention_dropout: float = 0.0
    dropout: float = DROPOUT
    frozen: int | None = None
    grouped: bool = False
    device_batch: int | None = None
    attention: str = "sdpa"
    dynamic: bool = False

    @property
    def name(self) -> str:
        return f"{'grouped' if self.grouped else 'random'}/{self.device_batch}/{self.attention}"


def sampler(work: Workload) -> Sampler:
    """The order of the windows, in whole batches."""
    windows = len(work.encoded)
    return Sampler(np.arange(windows - windows % work.batch, dtype=np.int64), work.batch, seed=0)


def begin(gate: Callable[[float], None]) -> None:
    """Ready for the first unit (a gate without ``wait`` is some function of a test)."""
    getattr(gate, "wait", lambda: None)()


# This engine


def our_model(work: Workload, way: Way) -> TaskModel:
    """A new model over the rows that the workload touches."""
    checkpoint = Checkpoint(work.folder)
    rows = active_rows(work.encoded.tokens, checkpoint.vocabulary)
    none = EmbeddingDelta.none(checkpoint.config.hidden_size)
    encoder = checkpoint.encoder(rows, none, None, way.dropout, way.attention_dropout, frozen=way.frozen)
    torch.manual_seed(0)
    return TaskModel(encoder, formats.get(work.format).head(encoder.hidden, work.outputs, way.dropout))


def our_places(work: Workload) -> npt.NDArray[np.int32]:
    """Vocabulary id → row of ``our_model``."""
    vocabulary = Checkpoint(work.folder).vocabulary
    return lookup(active_rows(work.encoded.tokens, vocabulary), vocabulary)


def our_job(work: Workload, way: Way, workspace: Path, **more: Any) -> Job:
    """The job of ``STEPS`` updates; the engine's own checkpoints are off, as the Trainer's are."""
    recipe = Recipe(
        updates=STEPS,
        batch=work.batch,
        rate=RATE,
        head_rate=RATE,
        warmup=0.0,
        weight_decay=0.0,
        dropout=way.dropout,
        attention_dropout=way.attention_dropout,
        frozen=way.frozen,
        checkpoint_seconds=1e9,
    )
    trunk = more.pop("trunk", None)
    stream = TaskStream(work.encoded, our_places(work), formats.get(work.format), sampler(work), trunk=trunk)
    settings = {"streams": [stream], "recipe": recipe, "dropout_seed": 0, "workspace": workspace}
    return Job(**{**settings, "trunk": trunk is not None, **more})


def ours(gate: Callable[[float], None], work: Workload, way: Way, model: TaskModel | None = None) -> None:
    """The engine's loop; one unit is an update, its work the real tokens."""
    from accelerate import Accelerator

    order, lengths = sampler(work), work.lengths
    model = model or our_model(work, way)

    def on_update(update: int, loss: float) -> None:
        gate(float(lengths[order(update - 1)].sum()))

    with tempfile.TemporaryDirectory() as workspace:
        job = our_job(work, way, Path(workspace), on_update=on_update)
        begin(gate)
        train(model, job, Accelerator(cpu=True))


# transformers


def their_model(work: Workload, way: Way) -> Any:
    """The Auto class's model of the same folder, frozen as asked."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    more = {} if work.format == "span" else {"num_labels": work.outputs}
    model = getattr(transformers, AUTO[work.format]).from_pretrained(
        work.folder,
        hidden_dropout_prob=way.dropout,
        attention_probs_dropout_prob=way.attention_dropout,
        attn_implementation=way.attention,
        **more,
    )
    if way.frozen is not None:
        for part in (model.base_model.embeddings, *model.base_model.encoder.layer[: way.frozen]):
            part.requires_grad_(False).eval()
            part.train = lambda mode=True, part=part: part  # the Trainer sets the whole model to training at each step
    return model


def their_trainer(work: Workload, way: Way, model: Any, folder: str, windows: list[int], **more: Any) -> Any:
    """The Trainer on ``windows`` in this order, with the defaults of the example scripts but no logs or checkpoints."""
    import transformers

    device_batch = way.device_batch or work.batch
    arguments = {
        "output_dir": folder,
        "use_cpu": True,
        "max_steps": STEPS,
        "learning_rate": RATE,
        "per_device_train_batch_size": device_batch,
        "gradient_accumulation_steps": work.batch // device_batch,
        "train_sampling_strategy": "sequential",
        "dataloader_pin_memory": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    fixed = work.pad_to is not None and not way.dynamic
    made = features(work.format, work.encoded, work.pad_to if fixed else None)
    collators = {"tagging": transformers.DataCollatorForTokenClassification}
    collator: Any = transformers.default_data_collator
    if not fixed:
        collator = collators.get(work.format, transformers.DataCollatorWithPadding)(_padder())
    return transformers.Trainer(
        model,
        transformers.TrainingArguments(**{**arguments, **more}),
        data_collator=collator,
        train_dataset=[made[at] for at in windows],
    )


def _padder() -> Any:
    """A tokenizer without words: collators ask for the padding id alone, and a real one is slow to load."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": PAD}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>", pad_token="<pad>")


def their_order(work: Workload, way: Way) -> npt.NDArray[np.int64]:
    """Windows as they are drawn: in the order of ours, or in the batches of transformers' own LengthGroupedSampler.

    That one goes from long to short through 50 batches at a time; here its batches come in random order, so that few
    steps already see all lengths.
    """
    order = sampler(work)
    if not way.grouped:
        return np.concatenate([order(update) for update in range(STEPS)])
    from transformers.trainer_pt_utils import LengthGroupedSampler

    lengths = work.lengths[order.examples].tolist()
    draw = torch.Generator().manual_seed(0)
    batches = np.empty((0, work.batch), np.int64)
    while len(batches) < STEPS:
        epoch = list(LengthGroupedSampler(work.batch, lengths=lengths, generator=draw))
        batches = np.concatenate([batches, np.array(epoch).reshape(-1, work.batch)])
    return np.random.default_rng(0).permutation(batches)[:STEPS].ravel()


def trainer(
    gate: Callable[[float], None], work: Workload, way: Way, every: int = 1, model: Any = None, **more: Any
) -> None:
    """``Trainer.train`` as it is; one unit is ``every`` optimizer steps, its work the real tokens."""
    from transformers import TrainerCallback

    seen = 0.0

    class Pause(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            nonlocal seen
            if state.global_step % every == 0:
                gate(seen)
                seen = 0.0

    def count(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        nonlocal seen
        seen += float(inputs["attention_mask"].sum())

    model = model or their_model(work, way)
    model.register_forward_pre_hook(count, with_kwargs=True)
    with tempfile.TemporaryDirectory() as folder:
        made = their_trainer(work, way, model, folder, their_order(work, way).tolist(), **more)
        made.add_callback(Pause())
        begin(gate)
        made.train()
