"""Real hosts, real processes, real faults: a run on a bed that is broken all the while.

``python -m tests.chaos --hosts 4 --tasks 120 --faults 16 --seed 7``; `plan` says what is to happen,
`faults` how each is done and undone, `chaos` drives it, `promises` looks at what came of it.
"""
