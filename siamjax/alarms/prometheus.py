"""The state of the monitor as metrics of Prometheus; docs/monitor.md lists them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import siamjax
from siamjax.alarms import alarm
from siamjax.alarms.live import Snapshot
from siamjax.monitoring import records

Deliveries = Mapping[str, Mapping[str, int]]  # {receiver: {result: calls}}


class Collector:
    """Gives the metrics at the moment when Prometheus asks."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], deliveries: Callable[[], Deliveries]
    ) -> None:
        """Args: functions that give the present state, and counts of calls."""
        self._snapshot, self._deliveries = snapshot, deliveries

    def collect(self) -> Iterator[Any]:
        """The metrics; prometheus_client calls this."""
        from prometheus_client import core

        gauge, counter = core.GaugeMetricFamily, core.CounterMetricFamily
        state = self._snapshot()
        yield from _of_sessions(state, gauge, counter)
        up = gauge("siamjax_source_up", "1 while packets come.")
        up.add_metric([], float(state.source_is_up))
        yield up
        if state.heartbeat is not None:
            yield from _of_heartbeat(state.heartbeat, gauge, counter)
        calls = counter(
            "siamjax_calls",
            "Calls of receivers, by result.",
            labels=["receiver", "result"],
        )
        waiting = gauge(
            "siamjax_calls_waiting", "Calls that wait on disk.", labels=["receiver"]
        )
        for receiver, counts in self._deliveries().items():
            for result, count in counts.items():
                if result == "waiting":
                    waiting.add_metric([receiver], count)
                else:
                    calls.add_metric([receiver, result], count)
        yield calls
        yield waiting
        about = gauge("siamjax_info", "Always 1.", labels=["version", "checkpoint"])
        step = "" if state.start is None else str(state.start.checkpoint)
        about.add_metric([siamjax.__version__, step], 1)
        yield about


def _of_sessions(state, gauge, counter):
    conditions = gauge(
        "siamjax_condition",
        "1 for the condition of a session, 0 for those that it had.",
        labels=["session", "network", "condition"],
    )
    alarms = gauge(
        "siamjax_alarm", "1 while a session is in alarm.", labels=["session", "network"]
    )
    since = gauge(
        "siamjax_condition_since_timestamp_seconds",
        "Onset of the condition of a session.",
        labels=["session", "network"],
    )
    distance = gauge(
        "siamjax_distance",
        "Distance to the nearest example at the last change.",
        labels=["session", "network"],
    )
    threshold = gauge(
        "siamjax_threshold",
        "Distance beyond which a window is unknown.",
        labels=["session", "network"],
    )
    changes = counter(
        "siamjax_changes",
        "Stretches in a condition that began.",
        labels=["session", "network", "condition"],
    )
    last = {name: stretches[-1] for name, stretches in state.sessions.items()}
    labels = {name: [name, last[name].change.network or ""] for name in last}
    for name, (_, change, start_ns, _) in last.items():
        alarms.add_metric(labels[name], float(alarm.is_alarm(change)))
        since.add_metric(labels[name], start_ns / 1e9)
        threshold.add_metric(labels[name], change.threshold)
        if change.distance is not None:
            distance.add_metric(labels[name], change.distance)
    for (name, condition), count in state.changes.items():
        is_present = last[name].change.condition == condition
        conditions.add_metric([*labels[name], condition], float(is_present))
        changes.add_metric([*labels[name], condition], count)
    yield from (conditions, alarms, since, distance, threshold, changes)


def _of_heartbeat(beat, gauge, counter):
    simple = (
        (counter, "siamjax_packets", "Packets read.", beat.packets),
        (counter, "siamjax_messages", "Messages read.", beat.messages),
        (counter, "siamjax_windows", "Windows compared.", beat.windows),
        (
            counter,
            "siamjax_packets_dropped",
            "Packets that were lost before.",
            beat.dropped,
        ),
        (
            counter,
            "siamjax_packets_shed",
            "Packets left out for lack of time.",
            beat.shed,
        ),
        (gauge, "siamjax_lag_seconds", "From a packet to its verdict.", beat.lag_s),
        (gauge, "siamjax_memory_bytes", "Resident memory.", beat.memory_bytes),
        (
            gauge,
            "siamjax_heartbeat_timestamp_seconds",
            "Packet time of the last heartbeat.",
            records.parse_time(beat.time) / 1e9,
        ),
    )
    for family, name, text, value in simple:
        metric = family(name, text)
        metric.add_metric([], value)
        yield metric
    not_read = counter(
        "siamjax_packets_not_read", "Packets not read, by cause.", labels=["cause"]
    )
    for cause, count in beat.not_read.items():
        not_read.add_metric([cause], count)
    yield not_read
