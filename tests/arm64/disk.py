"""A disk with a volatile write cache: what was written but not flushed is lost, kept or torn by sector when the power fails.

An NBD server on a Unix socket over an image file. Writes wait in memory, reads see them, FLUSH and FUA put them into the
file; `cut` keeps a random part of the waiting sectors, as an SD card's controller may. Python standard library only.
"""
import os, random, socket, struct, threading

SECTOR = 512
OPTION, REPLY, REQUEST, ANSWER = 0x49484156454F5054, 0x3E889045565A9, 0x25609513, 0x67446698
EXPORT_NAME, ABORT, INFO, GO = 1, 2, 6, 7
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
FLAGS = 1 | 4 | 8  # has flags, knows flush and FUA
FUA = 1


class Disk:
    def __init__(self, image, path):
        self.file = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.waiting, self.lost, self.kept = {}, 0, 0
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with self.listener.accept()[0] as s:
            try:
                if self.negotiate(s):
                    while self.answer(s):
                        pass
            except (ConnectionError, EOFError):
                pass  # QEMU was killed: that is the point

    def need(self, s, n):
        parts = []
        while n:
            part = s.recv(n)
            if not part:
                raise EOFError
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def negotiate(self, s):
        s.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION, 3))
        self.need(s, 4)
        while True:
            magic, option, length = struct.unpack(">QII", self.need(s, 16))
            assert magic == OPTION, "not an NBD client"
            self.need(s, length)

            def reply(kind, data=b""):
                s.sendall(struct.pack(">QIII", REPLY, option, kind, len(data)) + data)

            if option == EXPORT_NAME:
                s.sendall(struct.pack(">QH", self.size, FLAGS))
                return True
            if option in (INFO, GO):
                reply(3, struct.pack(">HQH", 0, self.size, FLAGS))
                reply(1)
                if option == GO:
                    return True
            elif option == ABORT:
                reply(1)
                return False
            else:
                reply(0x80000001)  # not supported

    def answer(self, s):
        magic, flags, kind, cookie, offset, length = struct.unpack(">IHHQQI", self.need(s, 28))
        assert magic == REQUEST, "lost track of the protocol"
        data, error = b"", 0
        if kind == WRITE:
            data = self.need(s, length)
            for at in range(0, length, SECTOR):
                self.waiting[(offset + at) // SECTOR] = data[at:at + SECTOR]
            if flags & FUA:
                self.settle(range(offset // SECTOR, (offset + length) // SECTOR))
            data = b""
        elif kind == READ:
            data = self.read(offset, length)
        elif kind == FLUSH:
            self.settle(list(self.waiting))
        elif kind == DISCONNECT:
            return False
        else:
            error = 22
        s.sendall(struct.pack(">IIQ", ANSWER, error, cookie) + data)
        return True

    def read(self, offset, length):
        data = bytearray(os.pread(self.file, length, offset))
        if self.waiting:
            first = offset // SECTOR
            for k in range(length // SECTOR):
                sector = self.waiting.get(first + k)
                if sector is not None:
                    data[k * SECTOR:(k + 1) * SECTOR] = sector
        return bytes(data)

    def settle(self, sectors):
        for sector in sectors:
            os.pwrite(self.file, self.waiting.pop(sector), sector * SECTOR)

    def close(self):
        """After an orderly end: the controller has time to write what waits."""
        self.cut(random.Random(0), 1.0)

    def cut(self, rng, keep):
        """After QEMU was killed: each waiting sector is kept with the probability `keep`, else the old one stays."""
        self.listener.close()
        self.thread.join(30)
        assert not self.thread.is_alive(), "QEMU is still there"
        kept = [sector for sector in self.waiting if rng.random() < keep]
        self.kept, self.lost = len(kept), len(self.waiting) - len(kept)
        self.settle(kept)
        os.close(self.file)
        os.unlink(self.path)
