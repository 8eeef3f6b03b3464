"""`python -m dzcore` is `dz`."""

import sys

from .cli import main

sys.exit(main())
