"""The networks of published NPU measurements, built with random weights (see build.py and rows.py)."""
