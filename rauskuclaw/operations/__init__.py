"""What operators see and do on the command line; the commands in `management/commands/` are thin doors to it.

command.py   the shape of a command: --json, errors, exit codes     text.py     tables, spans of time, colours
status.py    what runs, what waits                                  doctor.py   all checks, in order
findings.py  what a check tells                                     checks/     the checks themselves
"""
