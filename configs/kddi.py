"""An IP core network as counters a minute, 20 of its 79 faults never seen in training.

Where the data comes from, what is reached on it and how: docs/counters.md.

siamjax ingest --format=counters --captures=PATH --labels=PATH/labels.csv \
    --out=runs/kddi
siamjax train --config=configs/kddi.py --workdir=runs/kddi_first
"""

from siamjax.configs import counters

# Faults with a place of their own, so that each kind of fault is among them.
NOVEL = (
    "bgp_hijack@C",
    "bgp_injection@B>A",
    "interface_down@IntGW-01.GigabitEthernet3",
    "interface_down@IntGW-02.GigabitEthernet6",
    "interface_down@TR-01.GigabitEthernet4",
    "interface_down@TR-02.GigabitEthernet3",
    "node_down@TR-01",
    "packet_delay@IntGW-01.GigabitEthernet5",
    "packet_delay@IntGW-02.GigabitEthernet2",
    "packet_delay@IntGW-02.GigabitEthernet7",
    "packet_delay@RR-01.GigabitEthernet3",
    "packet_delay@TR-01.GigabitEthernet6",
    "packet_delay@TR-02.GigabitEthernet4",
    "packet_loss@IntGW-01.GigabitEthernet2",
    "packet_loss@IntGW-01.GigabitEthernet7",
    "packet_loss@IntGW-02.GigabitEthernet5",
    "packet_loss@RR-01.GigabitEthernet2",
    "packet_loss@TR-01.GigabitEthernet3",
    "packet_loss@TR-02.GigabitEthernet2",
    "packet_loss@TR-02.GigabitEthernet6",
)
NOVEL_VALID = (
    "bgp_injection@C>A",
    "interface_down@TR-02.GigabitEthernet5",
    "packet_delay@IntGW-01.GigabitEthernet7",
    "packet_delay@TR-02.GigabitEthernet6",
    "packet_loss@IntGW-02.GigabitEthernet3",
    "packet_loss@TR-01.GigabitEthernet5",
)
STEPS = 600
# A capture is a day: days decide the roles.
DATA = dict(
    dir="runs/kddi",
    bin_s=60.0,
    bins=5,
    hop_s=0.0,
    baseline_s=0.0,
    test_captures=("2020-07-0[7-9]", "2020-07-1*"),
    valid_captures=("2020-07-0[56]",),
)
BATCH = dict(conditions=16, made_up=8, per_condition=4)


def get_config():
    config = counters.get_config()
    config.steps = STEPS
    config.data.update(DATA, novel=NOVEL, novel_valid=NOVEL_VALID)
    config.heads.match.statistics_weight = 0.5
    config.batch.update(BATCH)
    return config
