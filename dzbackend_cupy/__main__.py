"""`python -m dzbackend_cupy`: what there is on this machine. The status is 1 if CuPy cannot be used."""

import sys

from . import probe, report

print(report.machine())
sys.exit(int(probe.why_unavailable() is not None))
