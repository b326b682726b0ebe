"""The settings that all tasks share."""

from nlstm_jax.cells.build import FACTORIES
from nlstm_jax.settings.setting import Setting, by_level, rate, seed
from nlstm_jax.settings.tasks import TASKS


def _penalties() -> dict[str, Setting]:
    """Return one setting for each kind of penalty and group of parameters."""
    kinds = {
        "l1": "λ of λ Σ abs(w)",
        "l2": "λ of λ Σ w²",
        "max_norm": "largest norm of the weights into a unit (0: any)",
    }
    groups = {"input_kernel": "W_x", "recurrent_kernel": "W_h", "bias": "b"}
    settings = {}
    for kind, meaning in kinds.items():
        for group, symbol in groups.items():
            name = f"penalty.{kind}_{group}"
            settings[name] = by_level(f"{meaning}, on the cell's {symbol}; by level", below=None)
    joint = f"{kinds['max_norm']}, on the cell's W_x and W_h together; by level"
    settings["penalty.max_norm_joint_kernel"] = by_level(joint, below=None)
    return settings


COMMON: dict[str, Setting] = {
    "name": Setting("", "what tables and curves call the run"),
    "task": Setting("", f"{', '.join(TASKS)}, or package.module:Class"),
    "cell.name": Setting("lstm", f"{', '.join(FACTORIES)}, or package.module:factory"),
    "cell.features": Setting(256, "H, hidden units; each layer's", low=1, high=65_536),
    "cell.parameters": Setting(0, "if > 0: the width is chosen so that the cell has as many, within 1 %", low=0),
    "cell.operations": Setting(0, "the same for operations of its products, forward, a step and sequence", low=0),
    "cell.state": Setting(0, "the same for numbers that it carries from step to step", low=0),
    "cell.layers": Setting(1, "stacked layers of the cell", low=1, high=64),
    "cell.skip": Setting(False, "every layer of a stack also reads its input"),
    "cell.residual": Setting(False, "a layer's output is added to the one above"),
    "cell.weights": Setting("", "a file from experiments.convert, in place of drawn initial values"),
    "cell.input_dropout": by_level("rate on a level's input, one mask a sequence; by level"),
    "cell.recurrent_dropout": by_level("rate on what W_h reads, one mask a sequence; by level"),
    "cell.weight_drop": by_level("rate on W_h itself, one mask a batch; by level"),
    "cell.zoneout": by_level("rate of units that keep their old value; of h, then of the memories outside in"),
    "model.parameters": Setting(
        0, "if > 0: the cell's width, and a projection's, are chosen so that the whole model has as many", low=0
    ),
    "unroll.mode": Setting("auto", "the loop over time", choices=("auto", "scan", "fused", "native", "cudnn")),
    "unroll.remat": Setting(False, "store carries √T steps apart alone, and compute the rest anew"),
    "unroll.truncate": Setting(0, "if > 0: the gradient does not leave blocks of so many steps", low=0),
    "optimizer.name": Setting(
        "adam", "keras_adam: with ε where Keras adds it", choices=("adam", "adamw", "keras_adam", "sgd", "rmsprop")
    ),
    "optimizer.learning_rate": Setting(2e-3, "its peak", above=0),
    "optimizer.schedule": Setting("constant", "", choices=("constant", "cosine", "halving")),
    "optimizer.warmup_steps": Setting(0, "linear from 0", low=0),
    "optimizer.final_fraction": Setting(0.0, "cosine: what is left of the learning rate at the end", low=0, high=1),
    "optimizer.halve_after_epochs": Setting(4.0, "halving: epochs at the full learning rate", low=0),
    "optimizer.halve_every_epochs": Setting(1.0, "halving: epochs from one halving to the next", above=0),
    "optimizer.clip_norm": Setting(1.0, "the gradient's largest norm; 0: not clipped", low=0),
    "optimizer.weight_decay": Setting(0.01, "adamw's", low=0),
    "optimizer.momentum": rate(0.0, "sgd's and rmsprop's"),
    "optimizer.beta1": rate(0.9, "adam's, adamw's and keras_adam's"),
    "optimizer.beta2": rate(0.999, "adam's, adamw's and keras_adam's; rmsprop's decay"),
    "optimizer.epsilon": Setting(1e-8, "", above=0),
    **_penalties(),
    "train.batch_size": Setting(64, "examples a step, over all devices", low=1),
    "train.shards": Setting(
        1, "> 1, a power of 2: parts of a batch computed apart; the number of devices then changes no bit", low=1
    ),
    "train.epochs": Setting(30.0, "passes over the training data, at the most", above=0),
    "train.steps": Setting(0, "if > 0: so many steps in place of `epochs`", low=0),
    "train.nonfinite": Setting(
        "stop",
        "a loss, gradient or parameter that is not finite: stop ends the run, skip leaves out this update",
        choices=("stop", "skip"),
    ),
    "train.nonfinite_limit": Setting(10, "skip: so many skipped updates in a row end the run", low=1),
    "train.steps_per_call": Setting(25, "steps in one compiled call", low=1, high=100_000),
    "eval.every_epochs": Setting(1.0, "how often to evaluate", above=0),
    "eval.every_steps": Setting(0, "if > 0: so many steps in place of `every_epochs`", low=0),
    "eval.batch_size": Setting(256, "examples at once", low=1),
    "eval.train_examples": Setting(
        1000, "size of the fixed part of the training data that is evaluated; all of it if likelihood is mse", low=1
    ),
    "eval.metric": Setting("log_loss", "decides the best step and early stopping, on the validation split"),
    "eval.patience": Setting(0, "stop after so many evaluations without a new best; 0: never", low=0),
    "eval.tolerance": Setting(0.0, "stop when the metric is as good; 0: never", low=0),
    "eval.test_curve": Setting(False, "also evaluate the test split, as a curve that decides nothing"),
    "seeds.init": seed("of the initial values"),
    "seeds.data": seed("of the batches"),
    "seeds.dropout": seed("of the dropout"),
}
"""The settings that all tasks have, by dotted name."""
