"""Many runs of ``train.py``: what a sweep consists of, and the driver that runs it."""
