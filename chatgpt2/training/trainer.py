"""The Trainer: transformers' own loop with our batches, loss, optimizer and schedule."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import EarlyStoppingCallback, PrinterCallback

from chatgpt2.batches import Portion
from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import Measured
from chatgpt2.material import BatchStream, Material
from chatgpt2.training.measure import Measure
from chatgpt2.training.optimizer import MuonAdamW, parameter_groups
from chatgpt2.training.options import RunOptions
from chatgpt2.training.plan import Plan
from chatgpt2.training.schedule import learning_rate_factor

COMPLETE = "complete"
"""The last file written into a saved step: without it a `kill -9` cut the saving short."""


def _inputs(batch: Portion) -> dict[str, Any]:
    return {**batch.inputs, "tokens": batch.tokens}


class Patience(EarlyStoppingCallback):
    """Early stopping that a resumed run continues: evaluations without gain are counted from the record."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)  # type: ignore[no-untyped-call]
        evaluated = [entry["step"] for entry in state.log_history if "eval_loss" in entry]
        self.early_stopping_patience_counter = sum(step > (state.best_global_step or 0) for step in evaluated)


class TextTrainer(Trainer):
    """Trains on batches of token ids with the loss of every step divided by its global label count.

    `stop` may be set by a signal handler: all processes leave after the same step.
    """

    def __init__(
        self,
        model: Any,
        options: RunOptions,
        plan: Plan,
        learned: Material,
        held: Material,
        folder: Path,
        device: str,
        measure: Measure,
    ) -> None:
        self.options, self.plan = options, plan
        self.learned, self.held, self.measures = learned, held, measure
        self.shown: Callable[[list[int]], str] = str
        self.stop = False
        self.stopping = False
        self.tokens_seen = 0
        self.seconds = 0.0
        self.last_held_out: tuple[int, Measured] | None = None
        super().__init__(
            model=model,
            args=_arguments(options, plan, folder, device, len(held) > 0),
            train_dataset=learned,
            eval_dataset=held,
        )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = False
        if self.args.load_best_model_at_end:
            self.add_callback(Patience(early_stopping_patience=options.patience or 1))

    @property
    def network(self) -> Any:
        """The model, not wrapped for several processes."""
        return self.model

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches dealt out by our own sampler; accelerate must not deal them out again."""
        stream = BatchStream(
            self.learned,
            self.plan.deal(self.options.seed),
            steps=self.plan.steps,
            rank=self.args.process_index,
            world=self.args.world_size,
        )
        return DataLoader(self.learned, batch_sampler=stream, collate_fn=_inputs)  # type: ignore[arg-type]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Muon and AdamW behind one face."""
        if self.optimizer is None:
            network = model if model is not None else self.network
            groups = parameter_groups(network, self.options.optimizer, self.plan.lr, bf16=self.plan.bf16)
            self.optimizer = MuonAdamW(groups, lr=self.plan.lr)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """The plan's schedule, over the plan's steps."""
        if self.lr_scheduler is None:
            factor = partial(
                learning_rate_factor,
                steps=self.plan.steps,
                warmup=self.plan.warmup,
                shape=self.options.schedule,
                floor=self.options.min_lr / self.plan.lr,
            )
            self.lr_scheduler = LambdaLR(
                optimizer if optimizer is not None else self.create_optimizer(), factor
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """The sum over this process's labels, divided by the labels of all of them.

        DDP averages gradients over the processes, hence the factor `world`.
        """
        tokens = inputs.pop("tokens")
        labels, tokens, stop = self._sum_over_processes(len(inputs["labels"]), tokens, int(self.stop))
        self.tokens_seen += tokens
        self.stopping = stop > 0
        total: Tensor = model(**inputs)
        if not math.isfinite(total.item()):  # before the step is taken: the weights stay as good as they were
            self._refuse(total.item(), inputs.get("ids"))
        return torch.mul(total, self.args.world_size / max(1, labels))

    def _refuse(self, total: float, ids: Tensor | None) -> None:
        batch = ""
        if ids is not None:
            text = " ".join(self.shown(ids[0, :24].tolist()).split())
            batch = f", in the batch that begins with {text!r}"
        kept = Path(str(self.args.output_dir))
        saved = max((int(p.parent.name.rsplit("-", 1)[1]) for p in kept.glob(f"*/{COMPLETE}")), default=0)
        where = f"the weights of step {saved:,} are kept in {kept}" if saved else "no step was saved before"
        raise ConfigError(
            f"the loss is {total} at step {self.state.global_step + 1:,}{batch}: "
            f"lower --lr or take --precision fp32, and look at that text; {where}"
        )

    def _sum_over_processes(self, *numbers: int) -> list[int]:
        if self.args.world_size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.int64, device=self.args.device)
        torch.distributed.all_reduce(sums)
        return [int(n) for n in sums.tolist()]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The held-out loss over all processes; tells callbacks and the log."""
        held_out = self.measure()
        self.last_held_out = (self.state.global_step, held_out)
        metrics = {f"eval_{name}": value for name, value in held_out.metrics.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def measure(self) -> Measured:
        """The figures of the held-out examples."""
        return self.measured(self.held)

    def measured(self, material: Material) -> Measured:
        """The same on other material, over all processes."""
        model = self.network
        was_training = model.training
        model.eval()
        batches = list(material.in_order(max(4096, self.plan.batch_tokens)))
        sums = torch.zeros(self.measures.size, dtype=torch.float64)
        with torch.no_grad():
            for rows in batches[self.args.process_index :: self.args.world_size]:
                inputs = self._prepare_inputs(_inputs(material.__getitems__(rows)))
                inputs.pop("tokens")
                sums += self.measures.sums(model, inputs).double().cpu()
        model.train(was_training)
        if self.args.world_size > 1:
            sums = sums.to(self.args.device)
            torch.distributed.all_reduce(sums)
        return self.measures.figures(sums.cpu(), material.characters)

    def final_held_out(self) -> Measured | None:
        """The held-out figures of the weights as they are now; None without held-out examples."""
        if not len(self.held):
            return None
        best = self.args.load_best_model_at_end  # then the weights are those of another step
        if self.last_held_out and self.last_held_out[0] == self.state.global_step and not best:
            return self.last_held_out[1]
        return self.measure()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            step = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            (step / COMPLETE).touch()


def _arguments(
    options: RunOptions, plan: Plan, folder: Path, device: str, held_out: bool
) -> TrainingArguments:
    evaluates = held_out and plan.eval_every > 0
    patient = options.patience is not None and evaluates
    save = plan.eval_every if patient else plan.save_every
    _check_reports(options.report_to)
    alone = "WORLD_SIZE" not in os.environ
    if alone and device != "cpu":
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        max_grad_norm=1.0,
        seed=options.seed,
        use_cpu=device == "cpu",
        logging_steps=plan.log_every,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=plan.eval_every if evaluates else None,
        save_strategy="steps",
        save_steps=save,
        save_total_limit=options.keep,
        load_best_model_at_end=patient,
        metric_for_best_model="eval_loss" if patient else None,
        greater_is_better=False if patient else None,
        report_to=list(options.report_to) or "none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        average_tokens_across_devices=False,
        log_level="error",
    )
    if alone and device != "cpu":
        # One process, one device. Left alone, Trainer takes cuda:0, and with several GPUs cuts every batch
        # into slices for DataParallel, which our loss does not survive.
        arguments.__dict__["_setup_devices"] = torch.device(device)
        arguments._n_gpu = 1
    return arguments


def _check_reports(names: tuple[str, ...]) -> None:
    for name in names:
        try:
            callbacks = get_reporting_integration_callbacks([name])  # type: ignore[no-untyped-call]
            for callback in callbacks:
                callback()
        except (ValueError, RuntimeError, ImportError) as error:
            hint = " (`pip install chatgpt2[tensorboard]`)" if name == "tensorboard" else ""
            raise ConfigError(
                f"--report-to {name} cannot be used: {str(error).splitlines()[0]}{hint}"
            ) from error
