"""The number of threads, the team that shares the cores, and the memory that stays."""

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dzcore
from dzbackend_numpy import team
from dzcore.errors import BackendError

HAS_OPENBLAS = "openblas" in str(np.show_config(mode="dicts")).lower()  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = dzcore.get_num_threads("numpy")
    yield
    dzcore.set_num_threads(before, "numpy")


def python(code: str, **environment: str) -> str:
    """Run code in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_number_is_what_was_set() -> None:
    for number in (1, 3, np.int64(2)):
        dzcore.set_num_threads(number, "numpy")  # type: ignore[arg-type]
        assert dzcore.get_num_threads("numpy") == number


def test_the_current_backend_is_meant() -> None:
    with dzcore.use_backend("numpy"):
        dzcore.set_num_threads(2)
        assert dzcore.get_num_threads() == 2


@pytest.mark.parametrize("number", [0, -1, True])
def test_numbers_below_one_are_refused(number: Any) -> None:
    with pytest.raises(ValueError, match=f"number={number}"):
        dzcore.set_num_threads(number, "numpy")


@pytest.mark.parametrize("number", [1.5, "2", None])
def test_what_is_no_whole_number_is_refused(number: Any) -> None:
    with pytest.raises(TypeError):
        dzcore.set_num_threads(number, "numpy")


def test_a_backend_that_decides_itself_says_so(backend: dzcore.Backend) -> None:
    if backend.name == "numpy":
        assert dzcore.get_num_threads() == dzcore.get_num_threads(backend)
        return
    with pytest.raises(BackendError, match="decides itself"):
        dzcore.set_num_threads(2)
    with pytest.raises(BackendError, match="does not say"):
        dzcore.get_num_threads()


@pytest.mark.skipif(not HAS_OPENBLAS, reason="NumPy has another library for its products here")
def test_it_begins_with_what_the_environment_says() -> None:
    code = "import dzcore; print(dzcore.get_num_threads('numpy'))"
    assert python(code, OPENBLAS_NUM_THREADS="1") == "1"
    assert python(code, OPENBLAS_NUM_THREADS="2") == "2"


FORKED = """
import os, sys
import numpy as np
import dzcore
from dzcore import functions as F

rng = np.random.default_rng(0)
a, b = rng.random((300, 300), dtype="f"), rng.random((300, 300), dtype="f")
big = dzcore.Parameter(rng.random(300_000, dtype="f"))

def work():
    y = F.gelu(big)
    loss = F.sum(y) + F.sum(F.matmul(dzcore.Variable(a), dzcore.Variable(b)))
    big.cleargrad()
    loss.backward()
    return bytes(big.grad.data), (a @ b).round(2).tobytes()

dzcore.set_num_threads(2, "numpy")
expected = work()
child = os.fork()
if not child:
    os._exit(0 if work() == expected else 1)
_, status = os.waitpid(child, 0)
assert work() == expected
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_computes_alone() -> None:
    """The threads of the team stay behind; who waited for them would wait for ever."""
    assert python(FORKED, OPENBLAS_NUM_THREADS="2") == "0"


def test_threads_of_python_compute_at_the_same_time() -> None:
    code = """
import threading
import numpy as np
import dzcore
from dzcore import functions as F

dzcore.set_num_threads(2, "numpy")
x = np.linspace(-3, 3, 200_000, dtype="f")
a = np.linspace(0, 1, 90_000, dtype="f").reshape(300, 300)
expected = bytes(F.gelu(x).data), (a @ a).round(1).tobytes()
wrong = []

def work():
    for _ in range(10):
        if (bytes(F.gelu(x).data), (a @ a).round(1).tobytes()) != expected:
            wrong.append(1)

crew = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in crew]
[t.join() for t in crew]
print(len(wrong))
"""
    assert python(code, OPENBLAS_NUM_THREADS="2") == "0"


def test_settings_of_the_user_stay() -> None:
    code = "from dzbackend_numpy import memory; print(memory.keep())"
    assert python(code, MALLOC_TRIM_THRESHOLD_="131072") == "False"


PRODUCTS = """
import threading
import numpy as np
import dzcore

dzcore.set_num_threads(2, "numpy")
matmul = dzcore.get_backend("numpy").xp.matmul
rng = np.random.default_rng(0)
a, v = rng.random((400, 400), dtype="f"), rng.random(400, dtype="f")
b, w = rng.random((1500, 1500)), rng.random(1500)
work = lambda: (matmul(a, a), a @ v, b @ w, b.T @ w, matmul(a.T, a), w @ w,
                np.linalg.solve(b[:200, :200], w[:200]), b[:300] @ b, matmul(a, a.T))
expected = work()
wrong = []

def repeat():
    for _ in range(10):
        wrong.extend(1 for x, y in zip(work(), expected) if not np.allclose(x, y, rtol=1e-3))

crew = [threading.Thread(target=repeat) for _ in range(4)]
[t.start() for t in crew]
[t.join() for t in crew]
print(len(wrong))
"""


FIRST = """
import threading
import numpy as np
import dzcore
from dzcore import functions as F
from dzcore.optimizers import Adam

rng = np.random.default_rng(0)
a, b = rng.standard_normal((128, 300), dtype="f"), rng.standard_normal((200, 300), dtype="f")
x, W = rng.standard_normal((2, 8, 12, 12), dtype="f"), rng.standard_normal((16, 8, 3, 3), dtype="f")
xs = rng.standard_normal((4, 16, 8), dtype="f")
start, found = threading.Barrier(4), []

def work():
    start.wait()
    weights = [dzcore.Parameter(np.full(shape, 0.1, "f")) for shape in ((8, 48), (48,), (16, 48), (48,), (16, 16))]
    y = F.gru(xs, *weights)
    big = [dzcore.Parameter(np.ones(100_000, "f")) for _ in range(3)]
    for each in big:
        each.grad = np.ones(100_000, "f")
    Adam().setup(big).update()
    z = F.sum(y) + F.sum(F.conv2d(x, W)) + F.sum(F.matmul(a, dzcore.Variable(b).T)) + F.sum(big[2])
    z.backward()
    found.append(float(z))

crew = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in crew]
[t.join() for t in crew]
print(len(found), len(set(found)))
"""


@pytest.mark.parametrize("run", range(3))
def test_several_threads_begin_together(run: int) -> None:
    """The compiler, the library and the team are made once; who lost a race would compute with what is gone."""
    assert python(FIRST, OPENBLAS_NUM_THREADS="2") == "4 1"


def test_products_in_several_threads_at_once() -> None:
    """By the kernel library, by OpenBLAS, and within LAPACK."""
    assert python(PRODUCTS, OPENBLAS_NUM_THREADS="2") == "0"


@pytest.mark.skipif(team.gomp() is None, reason="needs libgomp")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_call_is_made_in_as_many_threads(number: int) -> None:
    found: list[int] = []
    called = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda data: found.append(threading.get_native_id()))
    team.run(ctypes.cast(called, ctypes.c_void_p).value or 0, None, number)
    assert len(found) == len(set(found)) == number
    assert threading.get_native_id() in found


CALM = """
import os, sys, threading, time
import numpy as np
from dzbackend_numpy import team

def right():
    a = np.linspace(-1, 1, 600 * 600).reshape(600, 600) + np.eye(600)
    return np.allclose(a @ np.linalg.inv(a), np.eye(600), atol=1e-6)

stop, begun = threading.Event(), threading.Event()
matrix = np.ones((3000, 3000))

def product():
    begun.set()
    matrix @ matrix  # for longer than anybody waits below

other = {{"none": None, "waits": stop.wait, "computes": product}}["{other}"]
thread = threading.Thread(target=other) if other else None
if thread:
    thread.start()
if other is product:
    begun.wait()
    time.sleep(0.02)
done = team._blas().calm()
stop.set()
if thread:
    thread.join()
results = [right()]
for number in (1, 3, 2):
    team.set_threads(number)
    results.append(right())
print(done, all(results), "OPENBLAS_THREAD_TIMEOUT" in os.environ)
"""


def can_be_told() -> bool:
    blas = team._blas()
    return blas is not None and hasattr(blas.library, "openblas_read_env") and sys.platform == "linux"


needs_openblas_that_listens = pytest.mark.skipif(
    not can_be_told(), reason="this OpenBLAS cannot be told how long threads look for work; that of NumPy 2.4 can"
)


@needs_openblas_that_listens
@pytest.mark.parametrize(("other", "done"), [("none", True), ("waits", True), ("computes", False)])
def test_threads_of_openblas_are_told_to_sleep_unless_they_may_be_at_work(other: str, done: bool) -> None:
    for _ in range(3):
        assert python(CALM.format(other=other), OPENBLAS_NUM_THREADS="2") == f"{done} True False"


@needs_openblas_that_listens
def test_how_long_they_wait_is_the_users_choice() -> None:
    assert python(CALM.format(other="none"), OPENBLAS_THREAD_TIMEOUT="22") == "False True True"


SPUN = """
import os, time
from pathlib import Path
import numpy as np
from dzbackend_numpy import team

x = np.ones((200, 200))
team.gomp()
x @ x
time.sleep(0.3)

def spent():
    others = set(os.listdir("/proc/self/task")) - {str(os.getpid())}
    return sum(int(Path(f"/proc/self/task/{each}/schedstat").read_text().split()[0]) for each in others)

before = spent()
for _ in range(5):
    x @ x
    time.sleep(0.1)
print((spent() - before) / 5e6)
"""


@needs_openblas_that_listens
@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="needs the scheduler's own figures")
def test_threads_of_openblas_sleep_soon_after_a_product() -> None:
    """Milliseconds that other threads compute for a product of a fifth of one: they looked for work for 20."""
    assert float(python(SPUN, OPENBLAS_NUM_THREADS="2")) < 6
