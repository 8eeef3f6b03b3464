"""Discovery: every rule and message, with real distributions in a bare interpreter."""

from typing import Any

import pytest

from dzcore.backend import Backend, available_backends, get_backend, register_backend, unregister_backend
from dzcore.errors import AmbiguousBackendError, BackendNotFoundError, BackendUnavailableError, IncompatibleBackendError

from .plugins import Site, backend_class


def test_none_installed(site: Site) -> None:
    kind, message, _ = site.ask("answer = error(get_backend, 'cupy')")
    assert kind == "BackendNotFoundError"
    assert message == "No backend is installed. pip install dzbackend-numpy"


def test_typo_gets_a_suggestion(site: Site) -> None:
    site.install("numpy")
    site.install("cupy")
    kind, message, _ = site.ask("answer = error(get_backend, 'cuppy')")
    assert kind == "BackendNotFoundError"
    assert message == "No backend 'cuppy'. Installed: cupy, numpy. Did you mean 'cupy'?"


def test_a_far_name_gets_none(site: Site) -> None:
    site.install("numpy")
    message = "No backend 'zzz'. Installed: numpy. Is it a package such as dzbackend-zzz? Install that first."
    assert site.ask("answer = error(get_backend, 'zzz')")[1] == message
    assert "Did you mean" not in site.ask("answer = error(get_backend, 'cupy')")[1]  # numpy is something else
    assert site.ask("answer = error(get_backend, 'NUMPY')")[1].endswith("Did you mean 'numpy'?")


def test_listing_imports_nothing(site: Site) -> None:
    site.install("one", version="2.5")
    site.install("two")
    assert site.ask("answer = installed_backends()") == [
        ["one", "plug-one", "2.5", "plug_one:Plugin"],
        ["two", "plug-two", "1.0", "plug_two:Plugin"],
    ]
    assert site.imported == []


def test_getting_one_imports_that_one_once(site: Site) -> None:
    site.install("one")
    site.install("two")
    assert site.ask("answer = get_backend('one') is get_backend('one')") is True
    assert site.imported == ["plug_one"]


def test_threads_import_once(site: Site) -> None:
    site.install("slow", more="import time; time.sleep(0.1)")
    code = """
import threading
found = []
threads = [threading.Thread(target=lambda: found.append(get_backend('slow'))) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
answer = [len(found), len(set(map(id, found)))]
"""
    assert site.ask(code) == [8, 1]
    assert site.imported == ["plug_slow"]


def test_threads_fail_once(site: Site) -> None:
    site.install("slow", more="import time; time.sleep(0.1); 1 / 0")
    code = """
import threading
answer = []
threads = [threading.Thread(target=lambda: answer.append(error(get_backend, 'slow'))) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
"""
    failures = site.ask(code)
    assert len(failures) == 8
    assert all(failure[2] == "ZeroDivisionError" and failure == failures[0] for failure in failures)
    assert site.imported == ["plug_slow"]


def test_failing_import_harms_nobody_else(site: Site) -> None:
    site.install("good")
    site.install("bad", more="import no_such_library")
    names, failure = site.ask("answer = [available_backends(), error(get_backend, 'bad')]")
    assert names == ["good"]
    kind, message, cause = failure
    assert (kind, cause) == ("BackendLoadError", "ModuleNotFoundError")
    assert message == (
        "Backend 'bad' of plug-bad 1.0 fails to import: ModuleNotFoundError: No module named 'no_such_library'. "
        "Repair it with pip install --upgrade --force-reinstall plug-bad, or uninstall it."
    )


def test_failure_is_remembered_until_refresh(site: Site) -> None:
    site.install("bad", more="import os\nif 'HEAL' not in os.environ: 1 / 0")
    code = """
import os
first = [error(get_backend, 'bad') for _ in range(3)]
os.environ['HEAL'] = '1'
still = error(get_backend, 'bad')
refresh_backends()
answer = [first[0][2], first[0] == first[2] == still, str(get_backend('bad'))]
"""
    assert site.ask(code) == ["ZeroDivisionError", True, "bad"]
    assert site.imported == ["plug_bad", "plug_bad"]


def test_installed_but_unusable(site: Site) -> None:
    site.install("cupy", reason="no CUDA device was found.")
    failure, names = site.ask("answer = [error(get_backend, 'cupy'), available_backends()]")
    assert failure[:2] == [
        "BackendUnavailableError",
        "Backend 'cupy' is installed but unusable: no CUDA device was found.",
    ]
    assert names == []


def test_refresh_asks_again_whether_it_works(site: Site) -> None:
    more = "import os\nPlugin.why_unavailable = classmethod(lambda cls: os.environ.get('REASON'))"
    site.install("cupy", more=more)
    code = """
import os
answer = [available_backends()]
del os.environ['REASON']
answer.append(available_backends())
refresh_backends()
answer.append(available_backends())
"""
    assert site.ask(code, REASON="no device") == [[], [], ["cupy"]]


def test_a_probe_that_raises_counts_as_no(site: Site) -> None:
    site.install(
        "odd", more="def probe(cls): raise OSError('libodd.so is missing')\nPlugin.why_unavailable = classmethod(probe)"
    )
    assert site.ask("answer = error(get_backend, 'odd')")[1] == (
        "Backend 'odd' is installed but unusable: OSError: libodd.so is missing."
    )


def test_two_distributions_one_name(site: Site) -> None:
    site.install("numpy", distribution="dist-a")
    site.install("numpy", distribution="Dist_B", version="2.0")
    failure, module, other, unknown, names = site.ask(
        "answer = [error(get_backend, 'numpy'), type(get_backend('numpy@dist-b')).__module__,"
        "          str(get_backend('numpy:1@dist-a')), error(get_backend, 'numpy@dist-c'), available_backends()]"
    )
    assert failure[:2] == [
        "AmbiguousBackendError",
        "Backend 'numpy' is offered by Dist_B 2.0 and dist-a 1.0. Write 'numpy@Dist_B' or 'numpy@dist-a'.",
    ]
    assert (module, other) == ("dist_b", "numpy:1")
    assert unknown[:2] == ["BackendNotFoundError", "No backend 'numpy' in 'dist-c'. Offered by: Dist_B, dist-a."]
    assert names == []


@pytest.mark.parametrize(
    ("api", "advice"),
    [((1, 99), "Upgrade dzcore."), ((2, 0), "Upgrade dzcore."), ((0, 0), "Upgrade the backend.")],
)
def test_api_version(site: Site, api: tuple[int, int], advice: str) -> None:
    site.install("other", api=api)
    site.install("good")
    (kind, message, _), names = site.ask("answer = [error(get_backend, 'other'), available_backends()]")
    assert kind == "IncompatibleBackendError"
    assert message == (
        f"Backend 'other' of plug-other 1.0 is written for backend interface {api[0]}.{api[1]}, "
        f"and this dzcore offers 1.0. {advice}"
    )
    assert names == ["good"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("Plugin = 3", "3 is not a subclass of dzcore.backend.Backend"),
        ("del Plugin", "fails to import: AttributeError"),
        (
            "class Plugin(Backend): name, api_version = 'mine', (1, 0)",
            "lacks from_host, owns, to_host, why_unavailable",
        ),
        ("Plugin.name = 'yours'", "whose name is 'yours'"),
        ("Plugin.name = 'My Name'", "name='My Name' of Plugin does not match [a-z][a-z0-9_]*"),
        ("Plugin.api_version = 1", "api_version=1 of Plugin is not a pair such as (1, 0)"),
    ],
)
def test_a_wrong_entry_point_is_a_load_error(site: Site, more: str, words: str) -> None:
    site.install("mine", more=more)
    site.install("good")
    (kind, message, _), names = site.ask("answer = [error(get_backend, 'mine'), available_backends()]")
    assert kind == "BackendLoadError"
    assert message.startswith("Backend 'mine' of plug-mine 1.0")
    assert words in message
    assert names == ["good"]


def test_devices_are_separate_and_may_hold_colons(site: Site) -> None:
    site.install("one")
    code = """
a, b, c = get_backend('one'), get_backend('one:1'), get_backend('one:numpy:0@plug-one')
answer = [str(a), str(b), str(c), a is b, b is get_backend('one:1'), b is get_backend('one:1@plug-one'),
          error(get_backend, 'one:7')]
"""
    *names, same, cached, cached_too, failure = site.ask(code)
    assert names == ["one", "one:1", "one:numpy:0"]
    assert (same, cached, cached_too) == (False, True, True)
    assert failure == [
        "BackendUnavailableError",
        "Backend 'one:7' cannot be opened: ValueError: there is no device 7. Devices: 0, 1.",
        "ValueError",
    ]


def test_installation_while_the_process_runs(site: Site) -> None:
    wheel = site.build("late")
    code = f"""
import importlib.util, os, subprocess
get_backend('early')
refresh_backends()
before, _ = installed_backends(), importlib.util.find_spec('nobody')  # every cache of the folder is filled now
times = os.stat({str(site.folder)!r})
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
subprocess.run([*pip, "--target", {str(site.folder)!r}, {str(wheel)!r}], check=True)
os.utime({str(site.folder)!r}, ns=(times.st_atime_ns, times.st_mtime_ns))  # a file system with coarse times
unseen = error(get_backend, 'late')
early = get_backend('early')
refresh_backends()
answer = [len(before), unseen[0], str(get_backend('late')), get_backend('early') is early]
"""
    site.install("early")
    assert site.ask(code) == [1, "BackendNotFoundError", "late", True]
    assert site.imported == ["plug_early", "plug_late"]


def test_deinstallation_while_the_process_runs(site: Site) -> None:
    site.install("gone")
    code = f"""
import shutil
get_backend('gone')
shutil.rmtree({str(site.folder / "plug_gone-1.0.dist-info")!r})
refresh_backends()
answer = error(get_backend, 'gone')[0]
"""
    assert site.ask(code) == "BackendNotFoundError"


REGISTER = """
class Mine(Backend):
    name = 'numpy'
    api_version = (1, 0)
    why_unavailable = classmethod(lambda cls: None)
    xp = owns = to_host = from_host = None
"""


def test_registration_beats_the_entry_point_and_says_so(site: Site) -> None:
    site.install("numpy")
    refused, kind, theirs, listed = site.ask(
        REGISTER
        + """
refused = error(register_backend, Mine)
register_backend(Mine, replace=True)
refresh_backends()
answer = [refused, type(get_backend('numpy')).__name__, type(get_backend('numpy@plug-numpy')).__name__,
          [info[:5] for info in describe_backends()]]
"""
    )
    assert refused[:2] == [
        "AmbiguousBackendError",
        "The name 'numpy' of Mine is taken by plug-numpy 1.0. Give the class another name, "
        "or hide the other one with register_backend(..., replace=True).",
    ]
    assert (kind, theirs) == ("Mine", "Plugin")
    assert listed == [
        ["numpy", None, None, True, None],
        ["numpy", "plug-numpy", "1.0", False, "hidden by a registered backend; 'numpy@plug-numpy' opens it"],
    ]


def test_describe_tells_of_each_what_it_is(site: Site) -> None:
    site.install("bad", more="1 / 0")
    site.install("good", priority=3)
    site.install("off", reason="switched off")
    bad, good, off = site.ask("answer = describe_backends()")
    assert bad[:4] == ["bad", "plug-bad", "1.0", False]
    assert "ZeroDivisionError" in bad[4]
    assert good == ["good", "plug-good", "1.0", True, None, 3, False, ["0", "1"], []]
    assert off[:5] == ["off", "plug-off", "1.0", False, "switched off"]


@pytest.mark.usefixtures("empty_registry")
class TestRegister:
    def test_as_call_and_as_decorator(self) -> None:
        one = backend_class("one")
        assert register_backend(one) is one
        two = register_backend(replace=True)(backend_class("two"))
        assert available_backends() == ["one", "two"]
        assert type(get_backend("two")) is two

    def test_the_same_class_again_changes_nothing(self) -> None:
        one = register_backend(backend_class("one"))
        opened = get_backend("one")
        register_backend(one)
        assert get_backend("one") is opened

    def test_another_class_needs_replace(self) -> None:
        register_backend(backend_class("one"))
        old = get_backend("one")
        new = backend_class("one")
        with pytest.raises(AmbiguousBackendError, match="taken by the registered One.*replace=True"):
            register_backend(new)
        assert get_backend("one") is old
        register_backend(new, replace=True)
        assert type(get_backend("one")) is new

    def test_taking_back(self) -> None:
        register_backend(backend_class("one"))
        get_backend("one")
        unregister_backend("one")
        with pytest.raises(BackendNotFoundError):
            get_backend("one")
        with pytest.raises(BackendNotFoundError, match="'one' is not registered"):
            unregister_backend("one")

    @pytest.mark.parametrize(
        ("cls", "kind", "words"),
        [
            (3, TypeError, "3 is not a subclass"),
            (int, TypeError, "int.*is not a subclass"),
            (backend_class("Upper"), ValueError, "name='Upper'"),
            (backend_class("a-b"), ValueError, "name='a-b'"),
            (backend_class("a", api_version="1.0"), TypeError, "api_version='1.0'"),
            (backend_class("a", api_version=(9, 0)), IncompatibleBackendError, r"9\.0.*1\.0"),
            (
                type("Bare", (Backend,), {"name": "a", "api_version": (1, 0)}),
                TypeError,
                "Bare lacks from_host, owns, to_host",
            ),
        ],
    )
    def test_wrong_classes(self, cls: Any, kind: type[Exception], words: str) -> None:
        with pytest.raises(kind, match=words):
            register_backend(cls)
        assert available_backends() == []

    def test_unusable(self) -> None:
        register_backend(backend_class("off", reason="no device"))
        with pytest.raises(BackendUnavailableError, match="'off' is registered but unusable: no device"):
            get_backend("off")

    def test_an_instance_is_returned_as_it_is(self) -> None:
        backend = backend_class("loose")()
        assert get_backend(backend) is backend

    @pytest.mark.parametrize("spec", ["", ":", "one:", "one@", ":0", "@dist"])
    def test_an_incomplete_spec(self, spec: str) -> None:
        with pytest.raises(ValueError, match="incomplete"):
            get_backend(spec)

    @pytest.mark.parametrize("spec", [3, None, Backend])
    def test_a_spec_of_another_type(self, spec: Any) -> None:
        with pytest.raises(TypeError, match="neither a Backend nor a str"):
            get_backend(spec)


def test_two_names_of_the_default_device_are_one_backend(strict: str) -> None:
    assert get_backend("strict:CPU_DEVICE") is get_backend("strict")
    assert get_backend("strict:device1") is not get_backend("strict")


def test_an_answer_that_is_no_sentence(empty_registry: None) -> None:
    register_backend(backend_class("one", why_unavailable=classmethod(lambda cls: False)))
    with pytest.raises(BackendUnavailableError, match="why_unavailable gave False and not None or a sentence"):
        get_backend("one")


def test_a_device_of_a_class_without_devices(empty_registry: None) -> None:
    register_backend(backend_class("one", __init__=Backend.__init__))
    with pytest.raises(BackendUnavailableError, match="backend one has no such device; say 'one'"):
        get_backend("one:two")
