"""Eight CPU devices for every test, before JAX starts; rank promotion is an error."""

import gc
import os
import signal

import jax
import pytest

from tests import browser as browsers

# In the background a shell lets processes ignore Ctrl-C; tests send it to children.
signal.signal(signal.SIGINT, signal.default_int_handler)
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Half of the tests' time is compilation. Both save a part of it: places in the source
# are not written into programs, and the many small objects of a trace wait longer for
# the garbage collector.
jax.config.update("jax_traceback_in_locations_limit", 0)
gc.set_threshold(100_000, 50, 100)
# And the quick tests compile with the least effort, each program in one piece. `--slow`
# compiles as users do.
QUICK_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)


def pytest_addoption(parser):
    parser.addoption(
        "--slow", action="store_true", help="also the long form of each proof"
    )


def pytest_configure(config):
    flags = os.environ.get("XLA_FLAGS", "")
    # A worker of pytest-xdist has the flags of the process that started it.
    if not config.getoption("--slow") and QUICK_COMPILATION not in flags:
        os.environ["XLA_FLAGS"] = f"{QUICK_COMPILATION} {flags}"


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        slow = [item for item in items if "slow" in item.keywords]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if "slow" not in item.keywords]


@pytest.fixture(autouse=True, scope="session")
def compilation_cache(tmp_path_factory):
    """Both workers and the processes that tests start share compiled programs."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "xla")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(scope="session")
def chromium():
    """One headless browser for all tests of a process: its start takes seconds."""
    with browsers.chromium() as driver:
        yield driver


@pytest.fixture
def recorded(monkeypatch):
    """tshark as it was recorded: what it prints is in tests/signalling.py."""
    from siamjax.capture import tshark
    from tests import signalling

    monkeypatch.setattr(tshark, "Run", signalling.RecordedRun)
    monkeypatch.setattr(tshark, "find_tshark", lambda: "tshark")
    monkeypatch.setattr(tshark, "tshark_version", lambda program: "4.0.17")


@pytest.fixture
def reference(monkeypatch, tmp_path):
    """What a monitor compares live traffic with."""
    from tests import live_traffic

    return live_traffic.make_reference(monkeypatch, tmp_path)


@pytest.fixture
def one_device():
    """One device, not eight."""
    from tests import small_data

    with small_data.one_device():
        yield
