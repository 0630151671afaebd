"""`make chaos`: jobs of every kind while everything is killed, and the proof that none was lost and none ran twice.

run.py        one run: a stack, clients, faults, the verdict      __main__.py   the command
cluster.py    the stack: 2 web, 3 worker nodes, 2 I/O workers, 2 system workers, 2 beats, Postgres, Redis
kinds.py      what the jobs are: types, limits, kinds             plan.py       which job does what when, from the seed
workload.py   clients that submit, cancel, ask and race           streams.py    clients that follow, drop and resume
receiver.py   takes callbacks, badly                              nemeses.py    the faults
history.py    what clients saw                                    evidence.py   rows and ledger beside it
checker.py    judges the evidence by the rules (rules.py) of      invariants.py, flow_rules.py and group_rules.py
report.py     the page                                            timeline.py   its picture
"""
