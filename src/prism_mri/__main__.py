"""``python -m prism_mri``."""

import sys

from prism_mri.cli.main import main

sys.exit(main())
