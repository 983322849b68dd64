/// Runs a program that is refused something, as containers, old kernels and small limits do.
///
///     refuse [io_uring_setup=EPERM]... [memlock=0] [threads=N] -- PROGRAM [ARGUMENT]...
///
/// NAME=ERROR installs a seccomp filter under which the system call fails with that error, or, for
/// NAME=kill, ends the process.  `memlock` and `threads` set RLIMIT_MEMLOCK and RLIMIT_NPROC, and
/// give up root, over which neither has power.  Exits with 2 on bad arguments, with 77 when this
/// machine does not let us refuse anything, else as the program does.
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

extern "C" char** environ;

namespace {

constexpr int exit_skipped = 77;
constexpr uid_t nobody = 65534;

#if defined(__x86_64__)
constexpr unsigned architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned architecture = AUDIT_ARCH_AARCH64;
#else
#error "which AUDIT_ARCH is this?"
#endif

struct named {
  std::string_view name;
  unsigned value;
};

constexpr named system_calls[] = {
    {"io_uring_setup", SYS_io_uring_setup},
    {"io_uring_enter", SYS_io_uring_enter},
    {"io_uring_register", SYS_io_uring_register},
    {"membarrier", SYS_membarrier},
    {"epoll_create1", SYS_epoll_create1},
    {"epoll_pwait2", SYS_epoll_pwait2},
    {"eventfd2", SYS_eventfd2},
    {"clone3", SYS_clone3},
};

constexpr named answers[] = {
    {"EPERM", SECCOMP_RET_ERRNO | EPERM},   {"ENOSYS", SECCOMP_RET_ERRNO | ENOSYS},
    {"EACCES", SECCOMP_RET_ERRNO | EACCES}, {"EAGAIN", SECCOMP_RET_ERRNO | EAGAIN},
    {"EINVAL", SECCOMP_RET_ERRNO | EINVAL}, {"ENOMEM", SECCOMP_RET_ERRNO | ENOMEM},
    {"EMFILE", SECCOMP_RET_ERRNO | EMFILE}, {"kill", SECCOMP_RET_KILL_PROCESS},
};

struct refusal {
  unsigned system_call;
  unsigned answer;
};

[[noreturn]] void misuse(const char* what) {
  std::fprintf(stderr,
               "refuse: %s\nusage: refuse [SYSTEM_CALL=ERROR|kill]... [memlock=BYTES] "
               "[threads=N] -- PROGRAM [ARGUMENT]...\n",
               what);
  std::exit(2);
}

[[noreturn]] void impossible(const char* what) {
  std::fprintf(stderr, "refuse: %s: %s\n", what, std::strerror(errno));
  std::exit(exit_skipped);
}

template <std::size_t Count>
unsigned find(const named (&among)[Count], std::string_view name) {
  for (const named& one : among) {
    if (one.name == name) return one.value;
  }
  misuse("unknown system call or error");
}

void limit(__rlimit_resource which, const char* value) {
  char* end = nullptr;
  const rlim_t most = std::strtoull(value, &end, 10);
  if (end == value || *end != '\0') misuse("not a number");
  const rlimit both{most, most};
  if (::setrlimit(which, &both) != 0) impossible("setrlimit");
}

/// Root's capabilities would override the limits; with another user id they are gone.
void drop_root() {
  if (::geteuid() != 0) return;
  if (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0 ||
      ::setresuid(nobody, nobody, nobody) != 0)
    impossible("giving up root");
}

void install(const std::vector<refusal>& refusals) {
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (const refusal& one : refusals) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, one.system_call, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, one.answer));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) impossible("PR_SET_NO_NEW_PRIVS");
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) impossible("PR_SET_SECCOMP");
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<refusal> refusals;
  const char* memlock = nullptr;
  const char* threads = nullptr;
  int at = 1;
  for (; at < argc && std::strcmp(argv[at], "--") != 0; ++at) {
    const char* const equals = std::strchr(argv[at], '=');
    if (equals == nullptr) misuse("no '=' in an argument");
    const std::string_view name(argv[at], static_cast<std::size_t>(equals - argv[at]));
    if (name == "memlock") {
      memlock = equals + 1;
    } else if (name == "threads") {
      threads = equals + 1;
    } else {
      refusals.push_back({find(system_calls, name), find(answers, equals + 1)});
    }
  }
  if (at + 1 >= argc) misuse("no program");
  char** const command = argv + at + 1;
  // Opened before root is given up: its folder may be closed to others.
  const int program = ::open(command[0], O_PATH | O_CLOEXEC);
  if (program < 0) impossible(command[0]);
  if (memlock != nullptr) limit(RLIMIT_MEMLOCK, memlock);
  if (threads != nullptr) limit(RLIMIT_NPROC, threads);
  if (memlock != nullptr || threads != nullptr) drop_root();
  install(refusals);
  ::execveat(program, "", command, environ, AT_EMPTY_PATH);
  impossible(command[0]);
}
