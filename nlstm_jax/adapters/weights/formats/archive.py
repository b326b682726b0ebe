"""Members of zip archives, read under a limit on their size."""

import zipfile
from pathlib import Path

from nlstm_jax.adapters.weights.formats.stored import check_size, first_line
from nlstm_jax.errors import DataError


def check_members(path: Path, archive: zipfile.ZipFile) -> None:
    """Check that the members of an archive claim no more bytes than it holds.

    Raises:
        DataError: A member claims too many bytes, or all of them together do.
    """
    size = path.stat().st_size
    for member in archive.infolist():
        is_compressed = member.compress_type != zipfile.ZIP_STORED
        check_size(path, member.filename, member.file_size, member.compress_size, is_compressed=is_compressed)
        check_size(path, member.filename, member.compress_size, size, is_compressed=False)
    total = sum(member.file_size for member in archive.infolist())
    check_size(path, "all members", total, size, is_compressed=True)


def read_member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the bytes of a member.

    Raises:
        DataError: There is no such member, or it is damaged.
    """
    try:
        return archive.read(name)
    except (KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: {name}: a whole member of the archive expected: {first_line(error)}") from error
