"""Smoke suites: a client's view of a running server over HTTP, step by step (contract 13). `manage.py smoke` runs them.

steps.py  what a step is and how it is told     m1.py  jobs: idempotency, retries, callbacks
api.py    the client                            m3.py  chat jobs: how they are refused, and a model's answer
suites.py which suites there are                m4.py  memory, schedules, an answer kept as a memory
"""
