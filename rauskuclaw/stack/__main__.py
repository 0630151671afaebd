"""`python -m rauskuclaw.stack [--json]`: what `make up` runs. `manage.py up` is the same behind Django's imports."""

import sys

from rauskuclaw.stack.run import main

sys.exit(main(as_json="--json" in sys.argv[1:]))
