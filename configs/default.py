"""A Siamese LSTM on the SIP test bed, with three faults it never sees in training.

Half a minute of one core. Over six choices of the three faults, one example of each of
twelve conditions: known 0.997, novel 0.968; in the view 0.983, 0.872, see
docs/networks.md.

siamjax train --config=configs/default.py --workdir=runs/first
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict()
    config.seed = 0  # of weights, batches and draws
    config.steps = 800  # updates of the weights
    config.platform = ""  # cpu, gpu, tpu; empty: the best there is

    config.data = ConfigDict(
        dict(
            dir="runs/testbed",  # a prepared data set, relative to the current folder
            counts_dir="",  # folder for counts that do not fit in memory; empty: none
            bin_s=0.5,  # seconds of a bin
            bins=32,  # of a window, which lasts bins * bin_s seconds
            hop_s=4.0,  # seconds between windows; 0: one at each labelled stretch's end
            baseline_s=24.0,  # normal seconds at the start; 0: training's normal bins
            baseline="session",  # counts are relative to it; or none: bare log counts
            floor=0.3,  # added to a baseline's deviation, in log counts
            clip=30.0,  # largest feature, in deviations
            test_captures=(),  # patterns of names for the test; empty: folds decide
            valid_captures=(),  # the same for validation
            folds=4,  # number of parts into which the captures are dealt
            test_fold=0,  # number of the fold for the test, from 0; -1: none
            valid_fold=1,  # for validation; -1: each in turn, see configs/all.py
            novel_valid=(
                "link_flap",
                "server_overload",
            ),  # conditions only in validation
            novel=("busy_reject", "delay", "packet_loss"),  # only in the test
        )
    )
    config.batch = ConfigDict(
        dict(
            conditions=7,  # recorded conditions in a batch
            made_up=9,  # made-up conditions in a batch, see config.made_up
            per_condition=6,  # K windows of each: B = (7 + 9) * 6
            batch_from="all",  # sessions; or one_session
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
            ramp=0.0,  # share of the groups whose change grows through the window
            mixed=0.0,  # share of the groups with a second change on top
        )
    )
    config.encoder = ConfigDict(
        dict(
            hidden=(64,),  # width of each LSTM layer
            bidirectional=False,  # also reads the window from its end
            pooling="mean_max",  # of the bins; or last, attention
            clip=3.0,  # largest input of the LSTM, in deviations; 0: data.clip alone
            norm="none",  # of the input: batch, layer, ...: see models/norm.py
            momentum=0.99,  # of batch statistics
            frozen_share=0.7,  # of the steps, after which norm="frozen" stands still
        )
    )
    config.heads = ConfigDict(
        dict(
            match=dict(
                dim=128,  # of the point; fewer recognise novel conditions less well
                norm="unit",  # length 1; or none, sigmoid
                loss="triplet:mining=hard,margin=soft,scale=5",  # see siamjax.losses
                weight=1.0,  # of this head's loss in the sum
                features="live",  # from the encoder; or stopped, without gradient
                statistics_weight=1.0,  # length of mean and deviation beside the point
            ),
            view=dict(
                dim=3,  # of the point
                norm="sigmoid",  # each number in 0 to 1
                loss="triplet:mining=hard,margin=soft,scale=5",  # see siamjax.losses
                weight=1.0,  # of this head's loss in the sum
                features="match",  # reads that head's point; or stopped, or live
                statistics_weight=0.0,  # none
            ),
        )
    )
    # Windows are compared in a space: a head, statistics or both.
    config.decide_with = "best"  # the best space on validation; or the name of a head
    config.optimizer = ConfigDict(
        dict(
            learning_rate=2e-3,  # the highest, after the warmup
            warmup=20,  # steps
            final=0.05,  # of the learning rate, after the cosine decay
            weight_decay=1e-2,  # of AdamW
            clip_norm=1.0,  # largest norm of a gradient
        )
    )
    config.log_every = 20  # steps
    config.evaluate_every = 100  # steps, from one validation and checkpoint to the next
    config.draws = 100  # draws of the examples in an evaluation
    config.trace_frames = 20  # steps traced for film and page, dense early; 0: none
    config.trace_windows = 250  # whose way is traced; embedded 128 at a time
    return config
