"""Text files as the readers see them: UTF-8 without a byte order mark and with LF at line ends."""

from pathlib import Path

from nlstm_jax.errors import DataError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_text(path: Path, name: str) -> str:
    """Read a text file.

    Args:
        path: The file.
        name: What the message of an error begins with, such as `poems: mine.txt`.

    Raises:
        DataError: The file cannot be read, holds a NUL byte, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: a readable file expected, found: {error.strerror}") from None
    return clean(data, name).decode()


def clean(data: bytes, name: str, line: int = 1) -> bytes:
    """Check bytes of text and return them in UTF-8, without a byte order mark and with LF at line ends.

    Args:
        data: The bytes of a file, or of complete lines of it.
        name: What the message of an error begins with.
        line: The number of the first line. Only the first line of a file can have a byte order mark.

    Raises:
        DataError: The bytes hold a NUL, or are not UTF-8.

    >>> clean(b"\\xef\\xbb\\xbfa rose\\r\\nis", "poems")
    b'a rose\\nis'
    """
    if line == 1:
        data = data.removeprefix(_BYTE_ORDER_MARK)
    nul = data.find(b"\0")
    if nul >= 0:
        line += data.count(b"\n", 0, nul)
        raise DataError(f"{name} line {line}: a NUL byte found, text accepted")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise DataError(f"{name} line {line}: byte 0x{data[error.start]:02x} found, text in UTF-8 accepted") from None
    return data.replace(b"\r\n", b"\n")
