"""Which system calls a job may make: the list, and the numbers of both machines.

    plain    allowed as they are
    judged   allowed for some arguments; the rules are in `seccomp`
    absent   refused with ENOSYS, so that the C library falls back to the older call that can be judged
    hostile  nothing that a solution needs: the process is killed, and the verdict says `blocked_syscall`
    others   refused with EPERM

Plain calls read and write what is open, map memory, keep time, wait, and handle signals of the process's own.  None
opens a socket, creates, names or alters a file, starts a process, or speaks to another one.
Numbers: x86-64 from `asm/unistd_64.h`, aarch64 from `asm-generic/unistd.h`; `-` where the machine has no such call.
"""

from __future__ import annotations

PLAIN = """
read 0 63 | write 1 64 | close 3 57 | stat 4 - | fstat 5 80 | lstat 6 - | poll 7 - | lseek 8 62 | mprotect 10 226
munmap 11 215 | brk 12 214 | rt_sigaction 13 134 | rt_sigprocmask 14 135 | rt_sigreturn 15 139 | pread64 17 67
pwrite64 18 68 | readv 19 65 | writev 20 66 | access 21 - | pipe 22 - | select 23 - | sched_yield 24 124
mremap 25 216 | msync 26 227 | mincore 27 232 | dup 32 23 | dup2 33 - | pause 34 -
nanosleep 35 101 | getitimer 36 102 | alarm 37 - | setitimer 38 103 | getpid 39 172 | shutdown 48 210
getsockname 51 204 | getpeername 52 205 | exit 60 93 | uname 63 160
fsync 74 82 | fdatasync 75 83 | ftruncate 77 46 | getdents 78 - | getcwd 79 17 | readlink 89 - | umask 95 166
gettimeofday 96 169 | getrlimit 97 163 | getrusage 98 165 | sysinfo 99 179 | times 100 153 | getuid 102 174
getgid 104 176 | geteuid 107 175 | getegid 108 177 | getppid 110 173 | getpgrp 111 - | getgroups 115 158
getresuid 118 148 | getresgid 120 150 | getpgid 121 155 | getsid 124 156 | rt_sigpending 127 136
rt_sigtimedwait 128 137 | rt_sigsuspend 130 133 | sigaltstack 131 132 | fstatfs 138 44 | getpriority 140 141
sched_getparam 143 121 | sched_getscheduler 145 120 | sched_get_priority_max 146 125
sched_get_priority_min 147 126 | gettid 186 178 | time 201 -
sched_getaffinity 204 123 | epoll_create 213 - | getdents64 217 61 | set_tid_address 218 96
restart_syscall 219 128 | fadvise64 221 223 | clock_gettime 228 113 | clock_getres 229 114
clock_nanosleep 230 115 | exit_group 231 94 | epoll_wait 232 - | epoll_ctl 233 21 | newfstatat 262 79
readlinkat 267 78 | faccessat 269 48 | pselect6 270 72 | ppoll 271 73 | set_robust_list 273 99 | epoll_pwait 281 22
eventfd 284 - | eventfd2 290 19 | epoll_create1 291 20 | dup3 292 24 | preadv 295 69
pwritev 296 70 | getcpu 309 168 | getrandom 318 278 | membarrier 324 283
statx 332 291 | rseq 334 293 | faccessat2 439 439 | epoll_pwait2 441 441 | futex_waitv 449 449
"""
JUDGED = """
open 2 - | openat 257 56 | mmap 9 222 | ioctl 16 29 | fcntl 72 25 | sendto 44 206 | socketpair 53 199
clone 56 220 | kill 62 129 | tgkill 234 131 | prctl 157 167 | prlimit64 302 261 | setrlimit 160 164
recvfrom 45 207 | getsockopt 55 209 | close_range 436 436 | pipe2 293 59 | preadv2 327 286 | pwritev2 328 287
madvise 28 233 | futex 202 98 | arch_prctl 158 -
"""
ABSENT = "clone3 435 435 | openat2 437 437"
HOSTILE = """
ptrace 101 117 | process_vm_readv 310 270 | process_vm_writev 311 271 | pidfd_open 434 434 | pidfd_getfd 438 438
pidfd_send_signal 424 424 | process_madvise 440 440 | kcmp 312 272 | mount 165 40 | umount2 166 39
pivot_root 155 41 | chroot 161 51 | fsopen 430 430 | fsconfig 431 431 | fsmount 432 432 | fspick 433 433
open_tree 428 428 | move_mount 429 429 | mount_setattr 442 442 | unshare 272 97 | setns 308 268
open_by_handle_at 304 265 | name_to_handle_at 303 264 | bpf 321 280 | add_key 248 217 | request_key 249 218
keyctl 250 219 | perf_event_open 298 241 | userfaultfd 323 282 | io_uring_setup 425 425 | io_uring_enter 426 426
io_uring_register 427 427 | init_module 175 105 | finit_module 313 273 | delete_module 176 106 | kexec_load 246 104
kexec_file_load 320 294 | reboot 169 142 | swapon 167 224 | swapoff 168 225 | acct 163 89 | quotactl 179 60
iopl 172 - | ioperm 173 - | modify_ldt 154 - | fanotify_init 300 262 | lookup_dcookie 212 18 | settimeofday 164 170
clock_settime 227 112 | adjtimex 159 171 | clock_adjtime 305 266 | sethostname 170 161 | setdomainname 171 162
"""
MACHINES = ("x86_64", "aarch64")


def numbers(table: str, machine: str) -> dict[str, int]:
    """The calls of `table` that `machine` has, by name."""
    rows = [row.split() for line in table.strip().splitlines() for row in line.split("|")]
    column = 1 + MACHINES.index(machine)
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
