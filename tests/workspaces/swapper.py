"""A program that swaps two names as fast as it can: `python swapper.py DIRECTORY NAME OTHER`, until it is killed."""

import ctypes
import os
import sys

EXCHANGE = 2


def main() -> None:
    directory, name, other = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    while libc.renameat2(fd, name.encode(), fd, other.encode(), EXCHANGE) == 0:
        pass
    raise OSError(ctypes.get_errno(), "renameat2")


if __name__ == "__main__":
    main()
