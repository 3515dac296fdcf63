"""Parts C, D and E: files; network; the kernel's surface."""

from __future__ import annotations

from tests.sandbox.attacks import Attack


def _reads(*paths: str) -> str:
    return "reach(" + ", ".join(f"lambda: open({path!r}, 'rb').read(1)" for path in paths) + ")"


FILES = [
    Attack(52, "read_shadow", _reads("/etc/shadow")),
    Attack(53, "read_passwd", _reads("/etc/passwd"), control=True),
    Attack(54, "read_pid1_environ", _reads("/proc/1/environ")),
    Attack(55, "read_parent_environ", "reach(lambda: open(f'/proc/{os.getppid()}/environ', 'rb').read(1))"),
    Attack(56, "read_parent_mem", "reach(lambda: open(f'/proc/{os.getppid()}/mem', 'rb'))"),
    Attack(57, "read_self_maps", _reads("/proc/self/maps"), control=True),
    Attack(58, "env_secrets", "if set(os.environ) - {'PYTHONHASHSEED', 'LANG'}: print('PWNED')", control=True),
    Attack(
        59,
        "home_ssh",
        "reach(lambda: os.listdir('/root'), lambda: os.listdir('/home'), lambda: os.listdir('/root/.ssh'),\n"
        "      lambda: open('/root/.cache/huggingface/token'), lambda: os.listdir('/root/.aws'))",
    ),
    Attack(60, "list_root", "reach(lambda: os.listdir('/'))", control=True),
    Attack(
        61, "read_dataset", "reach(lambda: open(<<secrets>>).read(1), lambda: os.listdir(<<folder>>))", control=True
    ),
    Attack(62, "write_tmp", "reach(lambda: open('/tmp/<<mark>>', 'w').write('x'))", control=True),
    Attack(63, "write_devshm", "reach(lambda: open('/dev/shm/<<mark>>', 'w').write('x'))", control=True),
    Attack(64, "write_cwd", "reach(lambda: open('<<mark>>', 'w').write('x'), lambda: os.mkdir('<<mark>>.d'))"),
    Attack(65, "fill_disk", "reach(lambda: open('/var/tmp/<<mark>>', 'wb').write(bytes(1 << 20)))", control=True),
    Attack(66, "symlink_game", "reach(lambda: os.symlink('/etc/shadow', '/tmp/<<mark>>'))", control=True),
    Attack(67, "hardlink_canary", "reach(lambda: os.link(<<canary>>, '/tmp/<<mark>>'))"),
    Attack(
        68,
        "metadata_canary",
        "f = <<canary>>\n"
        "reach(lambda: os.chmod(f, 0o777), lambda: os.utime(f, (0, 0)), lambda: os.setxattr(f, 'user.x', b'1'),\n"
        "      lambda: os.truncate(f, 0), lambda: open(f, 'ab').write(b'x'), lambda: os.unlink(f),\n"
        "      lambda: os.rename(f, f + 'x'), lambda: os.chown(f, os.getuid(), os.getgid()))",
    ),
    Attack(
        69,
        "rdonly_trunc",
        "reach(lambda: os.open(<<canary>>, os.O_RDONLY | os.O_TRUNC),\n"
        "      lambda: os.open('/dev/null', os.O_RDONLY | os.O_TRUNC))",
        control=True,
    ),
    Attack(70, "chroot_twice", "reach(lambda: os.chroot('/tmp'))", "blocked_syscall"),
    Attack(
        71,
        "open_by_handle_at",
        "reach(lambda: sc('open_by_handle_at', -100, struct.pack('IIQ', 8, 1, 2), 0))",
        "blocked_syscall",
    ),
    Attack(
        72,
        "inherited_fds",
        "for fd in range(3, 4096):\n    try: os.fstat(fd)\n    except OSError: continue\n    print('PWNED', fd)",
    ),
    Attack(
        73,
        "control_fd",
        "for fd in range(3, 4096):\n    reach(lambda: socket.socket(fileno=fd).send(b'x'), lambda: os.write(fd, b'x'))",
    ),
    Attack(
        74,
        "dev_nodes",
        "for name in ('mem', 'kvm', 'fuse', 'nvidia0', 'nvidiactl', 'tty', 'ptmx', 'vda', 'vda1', 'kmsg', 'port'):\n"
        "    reach(lambda: open('/dev/' + name, 'rb'))",
    ),
    Attack(
        75, "mknod", "import stat\nreach(lambda: os.mknod('/tmp/<<mark>>', 0o600 | stat.S_IFCHR, os.makedev(1, 3)))"
    ),
    Attack(
        76,
        "proc_self_exe_write",
        "reach(lambda: open('/proc/self/exe', 'r+b'), lambda: open('/proc/self/mem', 'r+b'),\n"
        "      lambda: open(os.path.realpath(sys.executable), 'r+b'))",
    ),
    Attack(
        77,
        "leave_for_next_run",
        "import colorsys\n"
        "place = os.path.dirname(colorsys.__file__)\n"
        "for name in ('sitecustomize.py', 'usercustomize.py', 'x.pth', 'antigravity2.py'):\n"
        "    reach(lambda: open(os.path.join(place, name), 'w'))\n"
        "colorsys.rgb_to_hsv = lambda *_: 'PWNED'\n"
        "import builtins; builtins.print = lambda *_: os.write(1, b'PWNED'); builtins.print = None",
    ),
    Attack(
        78,
        "pyc_poison",
        "import colorsys\n"
        "reach(lambda: open(colorsys.__cached__, 'r+b'), lambda: open(colorsys.__file__, 'r+b'),\n"
        "      lambda: os.remove(colorsys.__cached__))",
    ),
]

NETWORK = [
    Attack(
        79,
        "tcp_connect_local",
        "reach(lambda: socket.create_connection(('127.0.0.1', <<port>>)).send(b'x'))",
        control=True,
    ),
    Attack(80, "tcp_connect_metadata", "reach(lambda: socket.create_connection(('169.254.169.254', 80), 0.3))"),
    Attack(81, "dns", "reach(lambda: socket.getaddrinfo('example.org', 80))"),
    Attack(82, "bind_listen", "reach(lambda: socket.create_server(('0.0.0.0', 0)))", control=True),
    Attack(83, "netlink", "reach(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))", control=True),
    Attack(
        84,
        "odd_families",
        "for family in (38, 40, 17, 29, 30, 44, 16, 31, 15, 21):\n"
        "    for kind in (1, 2, 3, 5): reach(lambda: socket.socket(family, kind))",
        control=True,
    ),
    Attack(
        85,
        "unix_path",
        "def go():\n    s = socket.socket(socket.AF_UNIX)\n    s.connect(<<unix>>)\n    s.send(b'x')\nreach(go)",
        control=True,
    ),
    Attack(
        86,
        "unix_abstract",
        "def go():\n    s = socket.socket(socket.AF_UNIX)\n    s.connect('\\0<<mark>>')\n    s.send(b'x')\nreach(go)",
        control=True,
    ),
    Attack(
        87,
        "socketpair_dgram_sendto",
        "def go():\n"
        "    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "    a.sendto(b'x', '\\0<<mark>>.dgram')\n"
        "reach(go)",
    ),
    Attack(
        88,
        "socketpair_stream_sendto",
        "a, b = socket.socketpair()\nreach(lambda: a.sendto(b'x', '\\0<<mark>>'), lambda: a.sendmsg([b'x']))",
    ),
]

_KILLED = "blocked_syscall"
_INT80 = (
    "libc.mmap.restype = ctypes.c_void_p\n"
    "libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]\n"
    "code = bytes.fromhex('b814000000cd80c3')\n"  # mov eax, 20 (getpid of the 32-bit table); int 0x80; ret
)
KERNEL = [
    Attack(89, "io_uring", "reach(lambda: sc('io_uring_setup', 8, bytes(120)))", _KILLED),
    Attack(90, "unshare_userns", "reach(lambda: sc('unshare', 0x10000000))", _KILLED, control=True),
    Attack(91, "setns", "reach(lambda: sc('setns', 0, 0))", _KILLED),
    Attack(92, "mount", "reach(lambda: sc('mount', b'x', b'/tmp', b'tmpfs', 0, 0))", _KILLED),
    Attack(92, "fsopen", "reach(lambda: sc('fsopen', b'tmpfs', 0))", _KILLED),
    Attack(92, "move_mount", "reach(lambda: sc('move_mount', -100, b'/', -100, b'/tmp', 0))", _KILLED),
    Attack(93, "bpf", "reach(lambda: sc('bpf', 0, bytes(128), 128))", _KILLED),
    Attack(94, "keyctl", "reach(lambda: sc('keyctl', 0, -3, 1))", _KILLED),
    Attack(94, "add_key", "reach(lambda: sc('add_key', b'user', b'x', b'x', 1, -3))", _KILLED),
    Attack(95, "perf", "reach(lambda: sc('perf_event_open', bytes(128), 0, -1, -1, 0))", _KILLED),
    Attack(96, "userfaultfd", "reach(lambda: sc('userfaultfd', 1))", _KILLED, control=True),
    Attack(97, "personality", "reach(lambda: c(libc.personality, 0x0040000))", control=True),
    Attack(98, "setuid_back", "reach(lambda: os.setuid(0) or os.setresuid(0, 0, 0), lambda: os.setgroups([0]))"),
    Attack(99, "x32_abi", "reach(lambda: c(libc.syscall, 0x40000000 | 39))", "blocked_syscall wrong_answer"),
    Attack(
        100,
        "int80_rwx",
        _INT80 + "p = libc.mmap(None, 4096, 7, 0x22, -1, 0)\nif p not in (None, 2**64 - 1): print('PWNED')",
        control=True,
    ),
    Attack(
        101,
        "int80_mprotect",
        _INT80 + "p = libc.mmap(None, 4096, 3, 0x22, -1, 0)\n"
        "ctypes.memmove(p, code, len(code))\n"
        "if libc.mprotect(ctypes.c_void_p(p), 4096, 5) == 0: ctypes.CFUNCTYPE(ctypes.c_int)(p)(); print('PWNED')",
        _KILLED,
    ),
    Attack(
        102,
        "seccomp_again",
        "allow = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))\n"
        "program = struct.pack('HxxxxxxP', 1, ctypes.addressof(allow))\n"
        "reach(lambda: sc('seccomp', 1, 0, program), lambda: sc('seccomp', 1, 8, program),\n"
        "      lambda: c(libc.prctl, 22, 2, program, 0, 0))",
    ),
    Attack(
        103,
        "inotify",
        "reach(lambda: c(libc.inotify_init1, 0), lambda: sc('fanotify_mark', 0, 0, 0, 0, 0))",
        control=True,
    ),
    Attack(
        104,
        "splice_vmsplice",
        "r, w = os.pipe()\n"
        "v = ctypes.create_string_buffer(b'x')\n"
        "reach(lambda: sc('vmsplice', w, struct.pack('QQ', ctypes.addressof(v), 1), 1, 0),\n"
        "      lambda: os.splice(0, w, 1), lambda: sc('tee', r, w, 1, 0), lambda: os.sendfile(w, 0, 0, 1))",
        control=True,
    ),
    Attack(105, "ldt_iopl", "reach(lambda: sc('modify_ldt', 0, bytes(16), 16))", "blocked_syscall wrong_answer"),
    Attack(105, "iopl", "reach(lambda: sc('iopl', 3))", "blocked_syscall wrong_answer"),
    Attack(
        168,
        "socket_flags",
        "a, b = socket.socketpair()\n"
        "b.send(b'xx')\n"
        "reach(lambda: a.send(b'x', socket.MSG_OOB), lambda: a.recv(1, socket.MSG_OOB),\n"
        "      lambda: a.getsockopt(1, 77, 4), lambda: a.getsockopt(1, socket.SO_PEERCRED, 12),\n"
        "      lambda: a.send(b'x', 0x4000000),\n"
        "      lambda: a.setsockopt(1, socket.SO_SNDBUF, 1 << 20))\n"
        "assert a.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b'x' and a.getsockopt(1, socket.SO_TYPE) == 1",
        "wrong_answer",
        control=True,
    ),
    Attack(
        169,
        "unusual_flags",
        "import mmap\n"
        "m = mmap.mmap(-1, 1 << 16, mmap.MAP_PRIVATE)\n"
        "m.madvise(mmap.MADV_DONTNEED)\n"
        "word = ctypes.create_string_buffer(8)\n"
        "reach(lambda: os.pipe2(0x80), lambda: m.madvise(12), lambda: sc('futex', word, 6, 0, None, None, 0))",
        "wrong_answer",
    ),
    Attack(
        106,
        "ioctl_tiocsti",
        "for fd in (0, 1, 2):\n    reach(lambda: fcntl.ioctl(fd, 0x5412, b'x'))\n    if os.isatty(fd): print('PWNED')",
    ),
]
ATTACKS = [*FILES, *NETWORK, *KERNEL]
