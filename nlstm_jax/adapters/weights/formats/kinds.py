"""The kinds of files, told from their first bytes."""

import re
from pathlib import Path

_HEAD_BYTES = 1024
_BEGINNINGS = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"PK\x03\x04", "zip"),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "torch"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"version https://git-lfs", "a Git LFS pointer; git lfs pull gets the file itself"),
)
"""The first bytes of a kind of file, and the kind."""


def find_kind(path: Path) -> str:
    """Return the kind of a file.

    Returns:
        "safetensors", "hdf5", "zip", "torch" (PyTorch before version 1.6), "msgpack", or a description of a file that
        is not read here.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "an empty file"
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if head[8:9] == b"{":
        return "safetensors"
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle, which can run code and is not loaded"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    if head[257:262] == b"ustar":
        return "a tar archive"
    if re.match(rb"\x08[\x01-\x14](\x12|:|\x42)", head):
        return "an ONNX model"
    # A dictionary in msgpack, with a text as the first key.
    if re.match(rb"([\x81-\x8f]|\xde..|\xdf....)([\xa0-\xbf]|\xd9)", head, re.DOTALL):
        return "msgpack"
    if head.lstrip()[:1] == b"<":
        return "a page of HTML or XML"
    if head.lstrip()[:1] in (b"{", b"["):
        return "a JSON text"
    return "a file of an unknown kind"
