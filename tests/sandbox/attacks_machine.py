"""Parts A and B: processes and signals; CPU, memory, output, descriptors."""

from __future__ import annotations

from rewards.sandbox import Limits
from tests.sandbox.attacks import ASLEEP, Attack

PROCESSES = [
    Attack(1, "fork_bomb", "for _ in range(50): reach(lambda: child(os.fork()))", control=True),
    Attack(2, "fork_clone3_raw", "reach(lambda: child(sc('clone3', struct.pack('11Q', *[0]*4, 17, *[0]*6), 88)))"),
    Attack(3, "vfork_raw", "NR['vfork'] and reach(lambda: child(libc.syscall(NR['vfork']) + 1 or sys.exit()))"),
    Attack(4, "clone_newuser", "reach(lambda: child(sc('clone', 0x10000000 | 17, 0, 0, 0, 0)))"),
    Attack(
        5, "subprocess_shell", "import subprocess\nreach(lambda: subprocess.run(['/bin/sh', '-c', 'id']))", control=True
    ),
    Attack(
        6,
        "execve_self",
        "reach(lambda: os.execv('/bin/echo', ['echo', 'PWNED']))\n"
        "reach(lambda: sc('execveat', os.memfd_create('x'), b'', 0, 0, 0x1000))",
        control=True,
    ),
    Attack(
        7,
        "ld_preload_exec",
        "os.environ['LD_PRELOAD'] = 'x.so'\n"
        "reach(lambda: os.execv(sys.executable, ['python', '-c', 'print(\"PWNED\")']))",
        control=True,
    ),
    Attack(
        8,
        "double_fork_daemon",
        "def daemon():\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0: time.sleep(0.05); os.write(1, b'PWNED')\n"
        "        os._exit(0)\n"
        "reach(daemon)",
        control=True,
    ),
    Attack(9, "kill_everyone", "reach(lambda: os.kill(-1, 9), lambda: os.kill(-1, 15))"),
    Attack(
        10,
        "kill_parent",
        "reach(lambda: os.kill(os.getppid(), 9), lambda: os.kill(os.getppid(), 19),\n"
        "      lambda: os.kill(<<canary_pid>>, 9), lambda: os.kill(1, 9), lambda: os.kill(1, 0))",
    ),
    Attack(11, "kill_own_group", "reach(lambda: os.kill(0, 15), lambda: os.killpg(os.getpgrp(), 15))"),
    Attack(
        12,
        "tgkill_others",
        "p = <<canary_pid>>\n"
        "info = ctypes.create_string_buffer(128)\n"
        "reach(lambda: sc('tgkill', p, p, 0), lambda: sc('tkill', p, 0), lambda: sc('rt_sigqueueinfo', p, 10, info),\n"
        "      lambda: os.kill(p, 0))\n"
        "reach(lambda: sc('pidfd_send_signal', os.pidfd_open(p), 9, 0, 0))",
    ),
    Attack(
        13,
        "fcntl_setown",
        "r, w = os.pipe()\n"
        "reach(lambda: fcntl.fcntl(r, fcntl.F_SETOWN, <<canary_pid>>), lambda: fcntl.fcntl(r, 10, 9))",
        control=True,
    ),
    Attack(
        14,
        "prlimit_other",
        "reach(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0)),\n"
        "      lambda: resource.prlimit(<<canary_pid>>, resource.RLIMIT_CPU))",
    ),
    Attack(
        15,
        "priority_others",
        "p = <<canary_pid>>\n"
        "reach(lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19), lambda: os.setpriority(os.PRIO_PROCESS, p, 19),\n"
        "      lambda: os.sched_setaffinity(p, {0}), lambda: sc('ioprio_set', 1, p, 0x6007))",
        control=True,
    ),
    Attack(16, "sched_fifo", "reach(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99)))"),
    Attack(17, "zombie_farm", "reach(*[lambda: os.fork() or os._exit(0)] * 20)", control=True),
    Attack(
        18,
        "setsid_escape_pgrp",
        "for f in (os.setsid, lambda: os.setpgid(0, 0)):\n    try: f()\n    except OSError: pass\nwhile 1: pass",
        "timeout_cpu",
        waits=True,
    ),
    Attack(
        19,
        "stop_self",
        "os.kill(os.getpid(), signal.SIGSTOP)\nprint('PWNED')",
        "timeout_wall",
        waits=True,
        limits=ASLEEP,
    ),
    Attack(20, "ptrace_parent", "reach(lambda: sc('ptrace', 16, os.getppid(), 0, 0))", "blocked_syscall"),
    Attack(
        21,
        "process_vm_readv_parent",
        "b = ctypes.create_string_buffer(8)\n"
        "v = struct.pack('QQ', ctypes.addressof(b), 8)\n"
        "reach(lambda: sc('process_vm_readv', os.getppid(), v, 1, v, 1, 0))",
        "blocked_syscall",
    ),
    Attack(
        22,
        "pidfd_getfd_parent",
        "reach(lambda: sc('pidfd_getfd', os.pidfd_open(os.getppid()), 0, 0))",
        "blocked_syscall",
    ),
]

# The C library's `clone`, which runs `pause` on a stack of its own; no thread that Python knows of.
CLONE = """
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
stacks = []
def clone(flags):
    stacks.append(ctypes.create_string_buffer(1 << 14))
    top = (ctypes.addressof(stacks[-1]) + (1 << 14)) & ~63
    return c(libc.clone, ctypes.cast(libc.pause, ctypes.c_void_p), top, flags, None)
"""
_THREADS = "[threading.Thread(target=spin).start() for _ in range(8)]"
USAGE = [
    Attack(23, "infinite_loop", "while 1: pass", "timeout_cpu", waits=True),
    Attack(
        24,
        "loop_ignores_signals",
        "for s in range(1, 65):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while 1:\n"
        "    try:\n"
        "        while 1: pass\n"
        "    except BaseException: pass",
        "timeout_cpu",
        waits=True,
    ),
    Attack(25, "sleep_forever", "time.sleep(1e6)", "timeout_wall", waits=True, limits=ASLEEP),
    Attack(26, "pause_forever", "signal.pause()", "timeout_wall", waits=True, limits=ASLEEP),
    Attack(27, "gil_pow", "10**10**9", "timeout_cpu memory", waits=True),
    Attack(28, "regex_redos", "import re\nre.match(r'(a+)+$', 'a'*40 + 'b')", "timeout_cpu", waits=True),
    Attack(29, "cpu_threads", f"def spin():\n    while 1: pass\n{_THREADS}", "timeout_cpu timeout_wall", waits=True),
    Attack(
        30,
        "thread_bomb",
        "threading.stack_size(32768)\n"
        "started = 0\n"
        "try:\n"
        "    while started < 5000: threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); started += 1\n"
        "except (RuntimeError, MemoryError): pass\n"
        "os.write(1, b'PWNED' if started >= 5000 else b'%d' % started)\n"
        "os._exit(0)",
        limits=Limits(cpu=2, wall=4, memory=256 << 20),
    ),
    Attack(
        31,
        "memory_bomb",
        "a = []\nwhile 1: a.append(bytearray(50 << 20))",
        "memory",
        limits=Limits(cpu=2, memory=256 << 20),
    ),
    Attack(
        32,
        "memory_bomb_caught",
        "a = []\nwhile 1:\n    try: a.append(bytearray(50 << 20))\n    except MemoryError: pass",
        "memory timeout_cpu timeout_wall",
        waits=True,
    ),
    Attack(
        33,
        "mmap_shared_bomb",
        "import mmap\nm = [mmap.mmap(-1, 64 << 20) for _ in range(9)]\nprint('PWNED')",
        "runtime_error memory",
        control=True,
    ),
    Attack(34, "memfd_bomb", "reach(lambda: os.write(os.memfd_create('x'), bytes(1 << 16)))", control=True),
    Attack(35, "sysv_shm_leak", "reach(lambda: c(libc.shmget, 0, 1 << 20, 0o1666), lambda: c(libc.msgget, 0, 0o1666))"),
    Attack(
        36,
        "posix_mq_leak",
        "reach(lambda: c(ctypes.CDLL('librt.so.1', use_errno=True).mq_open, b'/sandbox-attack', 0o102, 0o600, None),\n"
        "      lambda: sc('mq_open', b'sandbox-attack', 0o102, 0o600, 0))",
    ),
    Attack(37, "deep_recursion_py", "sys.setrecursionlimit(10**9)\ndef f(): f()\nf()", waits=True),
    Attack(
        38,
        "deep_recursion_c",
        # Without the collector, whose walks over so many lists take longer on a slow machine than the limit allows.
        "import gc\ngc.disable()\na = []\nfor _ in range(10**6): a = [a]\nrepr(a)",
        "runtime_error signal",
    ),
    Attack(39, "compile_bomb", "compile('('*100000 + ')'*100000, '', 'eval')", "memory runtime_error"),
    Attack(39, "compile_bomb_terms", "x = " + "+".join(["1"] * 60_000), "compile_error memory signal wrong_answer"),
    Attack(39, "compile_bomb_minus", "x = " + "-" * 200_000 + "1", "compile_error memory signal", limits=Limits(cpu=5)),
    Attack(40, "source_10MB", "#" * (10 << 20), "source_too_large"),
    Attack(41, "stdout_flood_1GB", "for _ in range(1024): print('x' * (1 << 20))", "output_limit"),
    Attack(42, "stdout_flood_raw", "while 1: os.write(1, b'x' * 65536)", "output_limit"),
    Attack(43, "stdout_sparse", "os.lseek(1, 1 << 40, 0)\nos.write(1, b'x')", "output_limit"),
    Attack(44, "stderr_flood", "while 1: os.write(2, b'x' * 65536)", "output_limit"),
    Attack(
        45,
        "fd_exhaust",
        "n = 0\ntry:\n    while n < 200: os.pipe(); n += 2\nexcept OSError: pass\nprint('PWNED' if n > 64 else n)",
        control=True,
    ),
    Attack(46, "pipe_grow", "reach(lambda: fcntl.fcntl(os.pipe()[1], 1031, 1 << 20))", control=True),
    Attack(
        47,
        "raise_rlimits",
        "for limit in range(16):\n"
        "    hard = resource.getrlimit(limit)[1]\n"
        "    if hard != resource.RLIM_INFINITY: reach(lambda: resource.setrlimit(limit, (hard + 1, hard + 1)))\n"
        "reach(lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),\n"
        "      lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1)))",
    ),
    Attack(48, "core_dump", "a = bytearray(100 << 20)\nos.abort()", "signal"),
    Attack(
        49,
        "timer_storm",
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)\n"
        "while 1: pass",
        "timeout_cpu",
        waits=True,
    ),
    Attack(50, "stdin_never_read", "print('done')", stdin=bytes(50 << 20)),
    Attack(
        165,
        "thread_bomb_raw",
        CLONE + "import time\n"
        "started = 0\n"
        "try:\n"
        "    while started < 3000: clone(0x50F00); started += 1\n"
        "except OSError: pass\n"
        "time.sleep(4 if started > 200 else 0)\n"
        "os.write(1, b'PWNED' if started > 200 else b'%d' % started)\n"
        "os._exit(0)",
        "thread_limit wrong_answer",
        limits=Limits(cpu=5, wall=10),
        waits=True,
    ),
    Attack(
        166,
        "descriptor_tables",
        CLONE + "reach(lambda: sc('close_range', 1000, 1000, 2), lambda: clone(0x50B00), lambda: clone(0x10B00))\n"
        "os._exit(0)",
        "wrong_answer",
    ),
    Attack(
        167,
        "socket_memory",
        CLONE + "sent = []  # a sum of threads loses what another adds while `send` waits\n"
        "def fill():\n"
        "    kept = []\n"
        "    try: sc('close_range', 1000, 1000, 2)\n"
        "    except OSError: pass\n"
        "    try:\n"
        "        while len(kept) < 64: kept += socket.socketpair()\n"
        "    except OSError: pass\n"
        "    for one in kept:\n"
        "        one.setblocking(False)\n"
        "        try:\n"
        "            while 1: sent.append(one.send(bytes(65536)))\n"
        "        except OSError: pass\n"
        "    if sum(sent) > 32 << 20: os.write(1, b'PWNED')\n"
        "    time.sleep(0.5)\n"
        "threads = [threading.Thread(target=fill) for _ in range(16)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "os._exit(0)",
        "wrong_answer",
        control=True,
        limits=Limits(cpu=5),
    ),
]
ATTACKS = [*PROCESSES, *USAGE]
