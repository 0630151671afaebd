"""The local stack: embedded Postgres and Valkey, web, workers and beat under one supervisor.

`make up` runs it. Production uses the same services under systemd, Compose or Helm instead; nothing outside this
package knows that it exists, except through `VAR_DIR/run.env` (addresses) and `VAR_DIR/stack.json` (state).

    run.py          what `make up` does, from lock to clean stop
    services.py     which processes the stack consists of
    supervisor.py   start, wait, restart, stop
    child.py        one supervised process
    postgres.py     the embedded Postgres            valkey.py    the embedded Valkey
    processes.py    spawn and kill process trees     account.py   the account Postgres runs as
    prepared.py     whether the database needs the one-off task
    leftovers.py    what a killed supervisor left    state.py     lock, stack.json, run.env
    files.py        secrets, ports, writing files    console.py   what the terminal shows
    binaries.py     where the servers' programs are  probe.py     asks /ready
"""
