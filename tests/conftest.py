import os

# Two processes with one thread each beat one with two, and one thread gives the same bits always.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
