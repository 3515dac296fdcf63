"""Two counts that a client and its keeper show each other, in a file in memory that both hold.

    laps    the client's: one more when a call begins and one more when its reply has come, so odd means "in a call"
    taken   the keeper's: how many jobs it has taken; a job that it never took may be given to another keeper

A count is written over the last one, so that however often it changes between two looks nothing queues up, nothing is
lost, and nobody waits.  The client maps the file.  The keeper does not, because its jobs would inherit the map.
"""

from __future__ import annotations

import os
import struct

SIZE = 16  # bytes
LAPS, TAKEN = 0, 8  # where each count stands
COUNT = struct.Struct("Q")


def write(file: int, place: int, count: int) -> None:
    os.pwrite(file, COUNT.pack(count), place)


def read(file: int, place: int) -> int:
    return int(COUNT.unpack(os.pread(file, COUNT.size, place))[0])
