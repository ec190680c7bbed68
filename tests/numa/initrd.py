#!/usr/bin/env python3
"""A file system for a kernel to begin with: one program as /init, and a console (cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst).

  initrd.py PROGRAM OUT
"""
import gzip
import sys

FOLDER, DEVICE, PROGRAM = 0o40755, 0o20600, 0o100755


def entry(name, mode, data=b"", device=(0, 0)):
    """One member: a head of hexadecimal fields, the name, the data, each up to a multiple of four bytes."""
    encoded = name.encode() + b"\0"
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def main():
    program, out = sys.argv[1:]
    with open(program, "rb") as file:
        members = entry("dev", FOLDER) + entry("dev/console", DEVICE, device=(5, 1)) + entry("init", PROGRAM, file.read()) + entry("TRAILER!!!", 0)
    with gzip.open(out, "wb", 1) as file:
        file.write(members)


if __name__ == "__main__":
    main()
