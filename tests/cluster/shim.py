"""shim.c in front of all programs of a server, and its orders: a wall clock that is stepped, calls that are refused."""
import os
import shutil
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


class Shim:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="qwen_pg_shim_", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.library, self.file = os.path.join(self.folder, "shim.so"), os.path.join(self.folder, "orders")
        subprocess.run(["gcc", "-O1", "-Wall", "-shared", "-fPIC", os.path.join(HERE, "shim.c"), "-o", self.library, "-ldl"], check=True)
        self.order()

    def order(self, clock=0, no_fork=0, no_memfd=0, slow_truncate_ms=0, no_cancel=0, slow_read_ms=0, late_go=0):
        # written in place: it is mapped
        fd = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(fd, struct.pack("<qqqqqqq", clock, no_fork, no_memfd, slow_truncate_ms, no_cancel, slow_read_ms, late_go), 0)
        os.close(fd)

    def starter(self):
        return ["env", f"LD_PRELOAD={self.library}", f"QWEN_SHIM={self.file}"]

    def remove(self):
        shutil.rmtree(self.folder)
