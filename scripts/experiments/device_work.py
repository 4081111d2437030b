"""What each device does in a step, read from the compiled program: no step is run.

    python -m scripts.experiments.device_work

Compiles a step of configs/default.py with 1024 windows for 1 to 64 simulated devices.
Prints what each device computes and holds, and what it gets from the others: how often,
and how many bytes. --losses prints instead, for every
loss with B = 2048 rows, the memory of value and gradient in units of B x B floats.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.sharding import Mesh

from configs import default
from siamjax import cli
from siamjax.config import Config, from_dict
from siamjax.data import columns, features, sampler
from siamjax.losses import LOSSES, measurements, resolve
from siamjax.losses.edge_cases import Batch
from siamjax.training import checkpoints, devices, state, step
from siamjax.types import Baseline, Windows

COMMAND = cli.Command("python -m scripts.experiments.device_work", __doc__)
_LOSSES = flags.DEFINE_bool("losses", False, "The memory of each loss.", COMMAND.flags)
_ONLY = flags.DEFINE_list(
    "only", [], "Of the losses, these; all by default.", flag_values=COMMAND.flags
)

DEVICES = (1, 2, 4, 8, 16, 32, 64)
PER_CONDITION = 64  # B = (7 + 9) * 64
# Sessions, their bins, and captures of a condition of the data; no step reads them all.
SESSIONS, BINS, CAPTURES = 100, 400, 10
ROWS, DIM, CLASSES = 2048, 16, 16  # of the losses
LOSS_DEVICES = (1, 8, 64)
_SPECS = dict(memory=f"memory:size={2 * ROWS}")  # it must hold a batch
# Bytes of a number of a type of HLO.
_BYTES = dict(pred=1, s8=1, u8=1, bf16=2, f16=2, s32=4, u32=4, f32=4, s64=8, u64=8)
_BYTES |= dict(f64=8)
_COLLECTIVES = (
    *("all-gather", "all-reduce", "reduce-scatter", "all-to-all"),
    "collective-permute",
)
_LINE = re.compile(rf"= (.*?) ({'|'.join(_COLLECTIVES)})(?:-start)?\(")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


class Work(NamedTuple):
    """Of one device, in one step."""

    gigaflops: float
    memory: int  # bytes besides what goes in and comes out
    collectives: dict[str, tuple[int, int]]  # kind -> number, bytes of their results


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    if _LOSSES.value:
        print_losses(_ONLY.value or [_SPECS.get(name, name) for name in sorted(LOSSES)])
    else:
        print_steps()


def print_steps() -> None:
    """The table of a step."""
    print("| devices | Gflop | memory, MB | gathered | summed | other |")
    print("|--:|--:|--:|--:|--:|--:|")
    for number in DEVICES:
        config = make_config()
        work = work_of_step(config, devices.make_mesh(jax.devices()[:number]))
        kinds = dict(work.collectives)
        gathered = kinds.pop("all-gather", (0, 0))
        summed = kinds.pop("all-reduce", (0, 0))
        other = tuple(map(sum, zip((0, 0), *kinds.values())))
        shown = " | ".join(
            f"{count} x, {size / 1e6:.2f} MB" if count else ""
            for count, size in (gathered, summed, other)
        )
        own = f"{work.gigaflops:.3f} | {work.memory / 1e6:.1f}"
        print(f"| {number} | {own} | {shown} |", flush=True)


def print_losses(specs: Sequence[str]) -> None:
    """The table of losses."""
    heads = "|".join(
        f"memory, {number} device{'s' * (number > 1)}" for number in LOSS_DEVICES
    )
    print(f"| loss |{heads}| largest sent |\n|---|{'--:|' * (len(LOSS_DEVICES) + 1)}")
    for spec in specs:
        programs = [compile_loss(spec, number) for number in LOSS_DEVICES]
        shares = [
            p.memory_analysis().temp_size_in_bytes / (4 * ROWS * ROWS) for p in programs
        ]
        largest = max((size for _, size in sent(programs[1].as_text())), default=0)
        shown = "|".join(f"{share:.3f}" for share in shares)
        print(f"| `{spec}` |{shown}| {largest / (4 * ROWS * DIM):.2g} |", flush=True)


def compile_loss(spec: str, number: int) -> jax.stages.Compiled:
    """Value and gradient of a loss, with the rows divided over devices."""
    loss = resolve(spec)
    start = loss.init(jax.random.key(0), CLASSES, DIM)
    mesh = devices.make_mesh(jax.devices()[:number])
    batch = Batch(
        jax.ShapeDtypeStruct((ROWS, DIM), jnp.float32),
        jax.ShapeDtypeStruct((ROWS,), jnp.int32),
        jax.ShapeDtypeStruct((ROWS,), bool),
    )
    rows = devices.batch_sharding(mesh)
    run = jax.jit(lambda b: measurements.evaluate(loss, start, b), in_shardings=(rows,))
    with jax.set_mesh(mesh):
        return run.lower(batch).compile()


def make_config() -> Config:
    """The default config with a larger batch."""
    config = default.get_config()
    config.batch.per_condition = PER_CONDITION
    return from_dict(config)


def work_of_step(config: Config, mesh: Mesh) -> Work:
    """`Work` of a step of a config on a mesh, from shapes alone."""
    table = columns.event_columns(("sip",))
    parts = step.build_parts(config, columns=table, classes=7, mesh=mesh)
    everywhere = devices.replicated(mesh)
    first = checkpoints.state_template(state.state_shapes(parts), everywhere)
    data = checkpoints.state_template(data_shapes(len(table), table), everywhere)
    run = jax.jit(
        lambda state, data: step.train_step(state, data, parts)[0],
        out_shardings=everywhere,
    )
    program = run.lower(first, data).compile()
    collectives: dict[str, tuple[int, int]] = {}
    for kind, size in sent(program.as_text()):
        count, total = collectives.get(kind, (0, 0))
        collectives[kind] = count + 1, total + size
    return Work(
        (program.cost_analysis()["flops"] + loop_flops(config, len(table), mesh)) / 1e9,
        program.memory_analysis().temp_size_in_bytes,
        collectives,
    )


def loop_flops(config, width, mesh):
    """Products of the LSTM's loops, without those of one bin.

    XLA counts the body of a loop once. Forwards the loop multiplies each bin and the
    state by all weights. Backwards, on a CPU, it multiplies the slopes of the gates by
    the recurrent weights, and by each bin and the state for the weight gradient.
    """
    (hidden,) = config.encoder.hidden
    batch = config.batch
    windows = (batch.conditions + batch.made_up) * batch.per_condition // mesh.size
    flops_of_bin = 2 * windows * 4 * hidden * (2 * (width + hidden) + hidden)
    return flops_of_bin * (config.data.bins - 1)


def data_shapes(width, table):
    """`step.Data` with shapes in place of arrays; `width` is F."""

    def shape(*sizes, dtype=jnp.int32):
        return jax.ShapeDtypeStruct(sizes, dtype)

    windows, conditions = SESSIONS * (BINS // 8), 14
    counts = shape(SESSIONS, BINS, width, dtype=jnp.float32)
    moments = shape(SESSIONS, width, dtype=jnp.float32)
    scaler = features.make_scaler(table, floor=0.3, clip=30.0)
    groups = shape(1, conditions)
    return step.Data(
        seed=shape(),
        counts=counts,
        baseline=Baseline(moments, moments),
        scaler=jax.tree.map(jnp.asarray, scaler),
        windows=Windows(shape(windows), shape(windows), shape(windows)),
        table=sampler.SamplingTable(
            rows=shape(windows),
            first=shape(1, conditions, CAPTURES),
            windows=shape(1, conditions, CAPTURES),
            captures=groups,
            classes=groups,
            normal=shape(1),
        ),
    )


def sent(program: str) -> Iterator[tuple[str, int]]:
    """Kind and bytes of the result of each collective operation in the text of HLO."""
    for results, kind in _LINE.findall(program):
        yield (
            kind,
            sum(
                _BYTES[dtype] * int(np.prod([int(n) for n in sizes.split(",") if n]))
                for dtype, sizes in _SHAPE.findall(results)
                if dtype in _BYTES
            ),
        )


if __name__ == "__main__":
    COMMAND.run(main)
