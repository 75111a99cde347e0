"""``python -m asvtk VERB`` is ``asvtk VERB``."""

import sys

from asvtk.bin.main import main

sys.exit(main())
