"""What transformers' training loop is told, and which loggers it may report to."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from chatgpt2.errors import ConfigError
from chatgpt2.training.options import RunOptions
from chatgpt2.training.plan import Plan


def trainer_arguments(
    options: RunOptions, plan: Plan, folder: Path, device: str, held_out: bool
) -> TrainingArguments:
    """The loop's settings for a run that keeps its saved steps in `folder`."""
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
