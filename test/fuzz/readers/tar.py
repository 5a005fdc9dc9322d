"""Reads archives with Python's tarfile for test/fuzz, as tar.go does with Go's archive/tar."""
import hashlib
import io
import json
import struct
import sys
import tarfile

TYPES = {b"\0": "0", b"7": "0", b"S": "0"}
MAX_CONTENT = 1024 * 1024


def read(archive):
    entries = []
    error = ""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:", encoding="latin1") as tar:
            for each in tar:
                kind = TYPES.get(each.type, each.type.decode("latin1"))
                content = ""
                if kind == "0" and each.size <= MAX_CONTENT:
                    data = tar.extractfile(each).read()
                    content = hashlib.sha256(data).hexdigest()[:16]
                entries.append({
                    "type": kind,
                    "path": each.name,
                    "linkPath": each.linkname if kind in "12" else "",
                    "mode": each.mode & 0o7777,
                    "uid": each.uid,
                    "gid": each.gid,
                    "size": each.size if kind == "0" else 0,
                    "content": content,
                })
    except Exception as cause:  # tarfile raises whatever it meets
        error = repr(cause)
    return {"entries": entries, "error": error}


while True:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        break
    (length,) = struct.unpack(">I", head)
    print(json.dumps(read(sys.stdin.buffer.read(length))), flush=True)
