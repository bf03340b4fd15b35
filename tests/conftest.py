"""Said before torch is loaded: threads that spin while they wait make tests many times slower on shared cores.

Properties are tried on the same examples everywhere. To look for new ones:  pytest --hypothesis-profile search
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=2000, deadline=None)
settings.load_profile("same")
