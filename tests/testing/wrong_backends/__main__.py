"""Run on each wrong backend the group that must catch it."""

import json
import sys

from dzcore.backend import register_backend, unregister_backend
from dzcore.testing.kit import run

from . import WRONG


def main(names: list[str]) -> None:
    for name in names or list(WRONG):
        cls, group = WRONG[name]
        register_backend(cls)
        outcomes = run([getattr(cls, "spec", name)], [group], maxfail=1)
        unregister_backend(name)  # one of them claims a high priority, by which the others would be measured
        print(json.dumps({
            "backend": name, "group": group, "ran": len(outcomes),
            "caught": {o.test: o.message.splitlines()[0][:200] for o in outcomes if o.result == "failed"},
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
