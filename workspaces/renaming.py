"""Renaming that never replaces: `renameat2(2)`, which Python does not offer."""

from __future__ import annotations

import ctypes
import errno
import os
import stat

_NOREPLACE = 1
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
_libc = ctypes.CDLL(None, use_errno=True)


def rename_new(name: str, new_name: str, *, from_fd: int, to_fd: int) -> None:
    """Rename, within two open directories. Raises FileExistsError if `new_name` exists, else as `os.rename`.

    Where the kernel or the file system cannot (NFS), a file gets its new name before it loses the old one, and a
    directory may take the place of an empty one.
    """
    rename = getattr(_libc, "renameat2", None)
    if rename is not None:
        if rename(from_fd, os.fsencode(name), to_fd, os.fsencode(new_name), _NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _UNSUPPORTED:
            raise OSError(number, os.strerror(number), new_name)
    _rename_new_without_kernel(name, new_name, from_fd, to_fd)


def _rename_new_without_kernel(name: str, new_name: str, from_fd: int, to_fd: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=from_fd, follow_symlinks=False).st_mode):
        try:
            os.rename(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.ENOTDIR}:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name) from None
            raise
        return
    os.link(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    os.unlink(name, dir_fd=from_fd)
