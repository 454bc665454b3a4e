"""The Trainer: transformers' own loop with our batches, loss, optimizer and schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_callback import EarlyStoppingCallback, PrinterCallback

from chatgpt2.batches import Portion
from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import Measured
from chatgpt2.material import BatchStream, Material
from chatgpt2.training.arguments import trainer_arguments
from chatgpt2.training.faults import not_finite
from chatgpt2.training.measure import Measure
from chatgpt2.training.optimizer import MuonAdamW, parameter_groups
from chatgpt2.training.options import RunOptions
from chatgpt2.training.plan import Plan
from chatgpt2.training.schedule import learning_rate_factor

COMPLETE = "complete"
"""The last file written into a saved step: without it a `kill -9` cut the saving short."""


def _inputs(batch: Portion) -> dict[str, Any]:
    return {**batch.inputs, "tokens": batch.tokens, "begins": tuple(batch.begins[:24].tolist())}


@contextmanager
def _asked(model: Any) -> Iterator[None]:
    """The model says what it makes of something, and learns nothing from it."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(was_training)


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
        self.shown: Callable[[Sequence[int]], str] = str
        self.stop = False
        self.stopping = False
        self.tokens_seen = 0
        self.seconds = 0.0
        self.last_held_out: tuple[int, Measured] | None = None
        # Of the latest step: its batch, the ids that this begins with, and the gradient's norm.
        self.batch: dict[str, Any] = {}
        self.begins: tuple[int, ...] = ()
        self.norm: Any = 0.0
        super().__init__(
            model=model,
            args=trainer_arguments(options, plan, folder, device, len(held) > 0),
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
        tokens, begins = inputs.pop("tokens"), inputs.pop("begins")
        labels, tokens, stop = self._sum_over_processes(len(inputs["labels"]), tokens, int(self.stop))
        self.tokens_seen += tokens
        self.stopping = stop > 0
        total: Tensor = model(**inputs)
        loss, scale = total.item(), self.args.world_size / max(1, labels)
        self._check_gradient()  # of the step before: nothing waits for it here, on a GPU either
        self.batch, self.begins = inputs, begins
        if not math.isfinite(loss):
            if self.args.world_size == 1:  # before the step is taken: the weights stay as good as they were
                raise self._fault(f"the loss is {loss} at step {self.state.global_step + 1:,}")
            scale = math.nan  # the gradient tells all processes, and all end
        return torch.mul(total, scale)

    def _clip_grad_norm(self, model: Any) -> Any:
        self.norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        return self.norm

    def check(self) -> None:
        """Before the latest step is evaluated or saved. Raises ConfigError where it has ruined the weights: where
        its gradient, or what is now the loss of its batch, is no finite number."""
        self._check_gradient()
        with _asked(self.network):
            loss = self.network(**self.batch).item()
        bad = not math.isfinite(loss)
        if any(self._sum_over_processes(int(bad))):
            raise self._fault(
                f"the loss is {loss if bad else math.nan} after step {self.state.global_step:,}"
            )

    def _check_gradient(self) -> None:
        if not math.isfinite(norm := float(self.norm)):
            raise self._fault(f"the gradient is {norm} at step {self.state.global_step:,}")

    def _fault(self, problem: str) -> ConfigError:
        folder = Path(str(self.args.output_dir))
        saved = [int(path.parent.name.rsplit("-", 1)[1]) for path in folder.glob(f"*/{COMPLETE}")]
        text = " ".join(self.shown(self.begins).split())
        return not_finite(problem, text, self.options, self.plan, max(saved, default=0))

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
        batches = list(material.in_order(max(4096, self.plan.batch_tokens)))
        sums = torch.zeros(self.measures.size, dtype=torch.float64)
        with _asked(model):
            for rows in batches[self.args.process_index :: self.args.world_size]:
                inputs = self._prepare_inputs(material.__getitems__(rows).inputs)
                sums += self.measures.sums(model, inputs).double().cpu()
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

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """What is saved, but with the plan's learning rate and precision: both may have changed since."""
        super()._load_optimizer_and_scheduler(checkpoint)
        schedule: Any = self.lr_scheduler
        if checkpoint is None or schedule is None:
            return
        peak, dtype = self.plan.lr, torch.bfloat16 if self.plan.bf16 else torch.float32
        schedule.base_lrs = [peak for _ in schedule.base_lrs]
        schedule._last_lr = [peak * factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        for group, lr in zip(schedule.optimizer.param_groups, schedule._last_lr, strict=True):
            group.update(initial_lr=peak, lr=lr, dtype=dtype)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            step = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            (step / COMPLETE).touch()
