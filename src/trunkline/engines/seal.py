"""The seal of an engine's process: once it serves, it opens no socket and starts no program.

llama.cpp's server fetches an ``http`` address that stands in place of an image, and hands bytes
that it does not know to ffmpeg; neither can be switched off. The kernel refuses both instead:
a seccomp filter (Linux, Documentation/userspace-api/seccomp_filter.rst, read 2026-11-22). The
socket that the engine listens on was opened before, and taking calls needs no other.
"""

import ctypes
import errno
import os
import platform
import struct
from typing import Final

import msgspec

_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1

# linux/filter.h: load a word of the call's description, jump if equal or at least, return.
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_NUMBER_AT: Final = 0
_MACHINE_AT: Final = 4
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EACCES

# x86-64 has a second set of numbers for the same calls, from here on.
_SECOND_SET: Final = 0x40000000


class _Machine(msgspec.Struct, frozen=True):
    """The numbers of one processor family: linux/audit.h and its table of system calls.

    ``shut`` is socket, execve, execveat and io_uring_setup; the last could do the first's work.
    """

    audit: int
    seccomp: int
    shut: tuple[int, int, int, int]


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 317, (41, 59, 322, 425)),
    "aarch64": _Machine(0xC00000B7, 277, (198, 221, 281, 425)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def seal_process() -> None:
    """Seal this process, all its threads and whatever it forks, for good.

    From then on opening a socket or starting a program fails with EACCES.

    Raises:
        OSError: the kernel cannot, or the processor is unknown.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(errno.ENOSYS, f"no seal is known for {platform.machine()}")
    steps = _write_filter(machine)
    text = ctypes.create_string_buffer(b"".join(steps))
    program = _Program(len(steps), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    # Without it only root may set a filter.
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(libc.syscall(machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program)))


def _write_filter(machine: _Machine) -> list[bytes]:
    """Refuse the numbers in ``shut`` and every call by another family's numbers."""
    tests = [
        (_JUMP_AT_LEAST, _SECOND_SET),
        *((_JUMP_EQUAL, number) for number in machine.shut),
    ]
    return [
        _write_step(_LOAD, _MACHINE_AT),
        _write_step(_JUMP_EQUAL, machine.audit, unless=len(tests) + 2),
        _write_step(_LOAD, _NUMBER_AT),
        *(
            _write_step(code, value, then=len(tests) - position)
            for position, (code, value) in enumerate(tests)
        ),
        _write_step(_RETURN, _ALLOW),
        _write_step(_RETURN, _REFUSE),
    ]


def _write_step(code: int, value: int, then: int = 0, unless: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, unless, value)


def _check(result: int) -> None:
    """Above 0 is a thread that has a filter of its own and so cannot take this one."""
    if result != 0:
        number = ctypes.get_errno() if result < 0 else errno.EBUSY
        raise OSError(number, os.strerror(number))
