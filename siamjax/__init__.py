"""siamjax: telecom faults from signalling traffic, a new one from one example."""

__version__ = "0.1.0"
