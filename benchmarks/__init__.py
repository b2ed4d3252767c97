"""How fast and how large is corral, held against a floor and its peers in the same run?

``python -m benchmarks [NAME ...] [--runs N]``; docs/performance.md has the latest figures. Every
comparison is a ratio of things measured one after the other, so that another machine, or a busy
one, changes both sides.
"""
