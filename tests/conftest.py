"""Said before torch is loaded: threads that spin while they wait make tests many times slower on shared cores."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
