"""A Siamese LSTM on the SIP test bed, with three faults it never sees in training.

Half a minute of one core. Over six choices of the three faults, one example of each of
twelve conditions: known 0.997, novel 0.968; in the view 0.983, 0.872, see
docs/networks.md.

siamjax train --config=configs/default.py --workdir=runs/first
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict()
    config.seed = 0
    config.steps = 800
    config.platform = ""  # cpu, gpu, tpu; empty: the best there is

    config.data = ConfigDict(
        dict(
            dir="runs/testbed",  # a prepared data set, relative to the current folder
            counts_dir="",  # holds counts beyond memory on disk; empty: in memory
            bin_s=0.5,
            bins=32,  # of a window: 16 s
            hop_s=4.0,  # between windows; 0: one at the end of each labelled stretch
            baseline_s=24.0,  # normal, at its beginning; 0: training's normal bins
            baseline="session",  # read against it; or none: the bare log counts
            floor=0.3,  # added to a baseline's deviation, in log counts
            clip=30.0,  # largest feature, in deviations
            test_captures=(),  # patterns of names; empty: folds decide
            valid_captures=(),  # beside test_captures
            folds=4,  # captures of each condition are dealt into so many
            test_fold=0,  # -1: none
            valid_fold=1,  # -1: each in turn, then a run on all: see configs/all.py
            novel_valid=(
                "link_flap",
                "server_overload",
            ),  # choose checkpoints and settings
            novel=("busy_reject", "delay", "packet_loss"),  # for the test alone
        )
    )
    config.batch = ConfigDict(
        dict(
            conditions=7,  # P recorded conditions
            made_up=9,  # made-up ones beside them
            per_condition=6,  # K windows of each: B = (7 + 9) * 6
            batch_from="all",  # or one_session
            tuples="all",  # or pairs, triplets: as many explicit ones as rows
            similar=0.5,  # share of similar pairs among explicit pairs
        )
    )
    config.made_up = ConfigDict(
        dict(
            kinds=("silenced", "multiplied", "added", "capped"),  # see data/made_up.py
            share=(0.03, 0.4),  # of the columns that change
            strength=1.5,  # deviation of the change, in log counts
            severity=(0.6, 1.4),  # of each window, times the strength
            on_off=0.25,  # share of the groups whose change goes on and off
            ramp=0.0,  # or grows through the window
            mixed=0.0,  # or has a second change on top
        )
    )
    config.encoder = ConfigDict(
        dict(
            hidden=(64,),  # width of each LSTM layer
            bidirectional=False,
            pooling="mean_max",  # or last, attention
            clip=3.0,  # largest input of the LSTM, in deviations; 0: data.clip alone
            norm="none",  # of the input: batch, layer, ...: see models/norm.py
            momentum=0.99,  # of batch statistics
            frozen_share=0.7,  # of the steps, after which norm="frozen" stands still
        )
    )
    config.heads = ConfigDict(
        dict(
            match=dict(
                dim=128,  # fewer recognise novel conditions less well
                norm="unit",
                loss="triplet:mining=hard,margin=soft,scale=5",
                weight=1.0,
                features="live",
                statistics_weight=1.0,  # length of mean and deviation beside the point
            ),
            view=dict(
                dim=3,
                norm="sigmoid",
                loss="triplet:mining=hard,margin=soft,scale=5",
                weight=1.0,
                features="match",  # reads that head's point; or stopped, or live
                statistics_weight=0.0,  # none
            ),
        )
    )
    # What windows are compared by: best (a head, statistics or both, as is best on
    # validation), or a head with the statistics beside it.
    config.decide_with = "best"
    config.optimizer = ConfigDict(
        dict(
            learning_rate=2e-3,
            warmup=20,  # steps
            final=0.05,  # of the learning rate, after the cosine decay
            weight_decay=1e-2,
            clip_norm=1.0,
        )
    )
    config.log_every = 20
    config.evaluate_every = 100  # validation, and a checkpoint
    config.draws = 100  # draws of the examples in an evaluation
    config.trace_frames = 20  # steps traced for film and page, dense early; 0: none
    config.trace_windows = 250  # whose way is traced; embedded 128 at a time
    return config
