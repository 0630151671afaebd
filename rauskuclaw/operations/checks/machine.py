"""Checks of this machine: Python, disk, permissions, workspace, keys, callbacks, plug-ins. None needs a server."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import stat
import sys
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path

from jobs.handlers.registry import ENTRY_POINT_GROUP
from rauskuclaw.config import load
from rauskuclaw.config_checks import MIN_KEY_LENGTH
from rauskuclaw.operations.findings import Finding, Findings, fail, ok, warn
from rauskuclaw.operations.text import count, size

MIN_PYTHON = (3, 11)
LOW_DISK_BYTES, FULL_DISK_BYTES = 2 * 1024**3, 256 * 1024**2
MIN_SIGNING_SECRET_CHARS = 16


def python() -> Findings:
    """The interpreter."""
    version = platform.python_version()
    if sys.version_info >= MIN_PYTHON:
        yield ok("python", f"Python {version}")
    else:
        wanted = ".".join(map(str, MIN_PYTHON))
        yield fail("python", f"Python {version} is too old", f"Use Python {wanted} or newer: `make up PYTHON=…`.")


def var_dir() -> Findings:
    """VAR_DIR is there, writable, and has room."""
    path = load().var_dir
    if not path.is_dir():
        yield warn("var_dir", f"{path} does not exist", "`make up` makes it; or set VAR_DIR to where the data is.")
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield fail("var_dir", f"{path} cannot be written by this user", f"Run as its owner, or chown {path}.")
        return
    usage = shutil.disk_usage(path)
    told = f"{size(usage.free)} of {size(usage.total)} free at {path}"
    fix = "Free some space, or move VAR_DIR to a larger disk. A full disk stops Postgres, and with it everything."
    if usage.free < FULL_DISK_BYTES:
        yield fail("disk", told, fix)
    elif usage.free < LOW_DISK_BYTES:
        yield warn("disk", told, fix)
    else:
        yield ok("disk", told)


def workspace() -> Findings:
    """WORKSPACE_ROOT can be written, and its file system keeps two writers of one file apart."""
    config = load()
    path = config.workspace_root
    if not path.is_dir():
        return  # It is made on first use.
    if not os.access(path, os.W_OK | os.X_OK):
        yield fail("workspace", f"{path} cannot be written by this user", f"Run as its owner, or chown {path}.")
    elif not _locks(path):
        yield warn(
            "workspace",
            f"The file system at {path} locks no directories: of two who change a file at once, one may not be told",
            "Use a local file system for WORKSPACE_ROOT, or let one machine write to it.",
        )
    else:
        allowed = {"read": config.data_file_read_enabled, "write": config.data_file_write_enabled}
        rights = " and ".join(verb for verb, is_on in allowed.items() if is_on) or "neither read nor write"
        yield ok("workspace", f"{path}; jobs may {rights} it")


def _locks(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def secrets() -> Findings:
    """Nobody but the owner reads the secrets."""
    folder = load().var_dir / "secrets"
    files = [*folder.glob("*"), load().var_dir / "run.env", load().var_dir / "redis.conf"]
    files = [path for path in files if path.is_file()]
    open_ones = [path for path in files if _mode(path) & 0o077]
    if open_ones:
        named = " ".join(map(str, open_ones))
        yield fail("secrets", f"Other users of this machine can read {named}", f"chmod 600 {named}")
    elif folder.is_dir() and _mode(folder) & 0o022:
        yield fail("secrets", f"Other users of this machine can replace files in {folder}", f"chmod 700 {folder}")
    elif files:
        yield ok("secrets", f"{count(len(files), 'file')} with secrets, for their owner alone")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def configured_keys() -> Findings:
    """The keys of the configuration. (Placeholders never get this far: no process starts with one.)"""
    entries = load().key_entries
    short = [entry.name for entry in entries if len(entry.key.get_secret_value()) < MIN_KEY_LENGTH]
    if short:
        yield warn(
            "keys.configured",
            f"Guessable, because shorter than {MIN_KEY_LENGTH} characters: {', '.join(short)}",
            "Replace them: `openssl rand -base64 32` makes a good one.",
        )
    elif entries:
        yield ok("keys.configured", f"{count(len(entries), 'key')} in the configuration")
    names = Counter(entry.name for entry in entries)
    if doubled := [name for name, times in names.items() if times > 1]:
        yield warn(
            "keys.configured",
            f"The audit log cannot tell apart the keys that share the name {', '.join(doubled)}",
            "Give each key a name of its own.",
        )


def callbacks() -> Findings:
    """Whether callbacks can be sent, and proved."""
    config = load()
    if not config.callbacks_enabled:
        yield ok("callbacks", "Switched off; every callback is skipped")
        return
    secret = config.callback_signing_secret.get_secret_value().strip() if config.callback_signing_secret else ""
    if config.callback_signing_enabled and not secret:
        yield fail(
            "callbacks.signing",
            "Signing is on and has no secret, so no callback is sent",
            "Set CALLBACK_SIGNING_SECRET (or CALLBACK_SIGNING_SECRET_FILE).",
        )
    elif config.callback_signing_enabled and len(secret) < MIN_SIGNING_SECRET_CHARS:
        yield warn(
            "callbacks.signing",
            f"The signing secret has fewer than {MIN_SIGNING_SECRET_CHARS} characters",
            "Use a longer one, at both ends: `openssl rand -hex 32`.",
        )
    elif config.callback_signing_enabled:
        yield ok("callbacks.signing", "Callbacks are signed")
    elif config.callback_allowlist:
        yield warn(
            "callbacks.signing",
            "Callbacks are sent unsigned: a receiver cannot tell ours from anybody's",
            "Set CALLBACK_SIGNING_ENABLED=1 and CALLBACK_SIGNING_SECRET; docs/callbacks.md shows how to verify.",
        )
    yield _allowlist()


def _allowlist() -> Finding:
    config = load()
    if config.callback_allowlist:
        return ok("callbacks.allowlist", f"Callbacks may go to {', '.join(config.callback_allowlist)}")
    if config.callback_when_allowlist_empty == "allow_all":
        return warn(
            "callbacks.allowlist",
            "Callbacks may go to any public host",
            "List the receivers in CALLBACK_ALLOWLIST.",
        )
    return ok("callbacks.allowlist", "CALLBACK_ALLOWLIST is empty: callbacks go nowhere")


def plugins() -> Findings:
    """Handler packages that are installed and cannot be loaded, or claim an id that is taken."""
    loaded = []
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded.append(entry_point.load().id)
        except Exception as error:  # foreign code may raise anything
            named, why = f"{entry_point.name} ({entry_point.value})", f"{type(error).__name__}: {error}"
            yield fail(
                "handlers.plugins",
                f"The plug-in {named} cannot be loaded: {why}",
                "Mend or uninstall its package, then restart the workers and the web server.",
            )
    if loaded:
        yield ok("handlers.plugins", f"{count(len(loaded), 'plug-in')}: {', '.join(sorted(loaded))}")
