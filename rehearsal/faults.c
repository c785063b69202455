/* Makes one system call of a process fail, or kills the process at it; for rehearsal/faults.py, by LD_PRELOAD.

   Only what touches files below FAULT_ROOT, sockets and the output counts, from the first such file on: thousands of
   calls by which Python starts and imports do not. FAULT_AT is the number of the call, from 1; FAULT_ERRNO what it
   fails with, 0: the process is killed before it. Each call is a line of the file FAULT_LOG. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FDS = 1024 };
static const char *root;
static long at;
static int error, log_fd = -1;
static atomic_long calls;
static atomic_bool began;
enum { FILE_ = 1, SOCKET };
static atomic_char counted[FDS]; /* of what kind a descriptor is whose calls count; 0: they do not */

__attribute__((constructor)) static void set_up(void) {
    const char *number = getenv("FAULT_AT"), *with = getenv("FAULT_ERRNO"), *log = getenv("FAULT_LOG");
    root = getenv("FAULT_ROOT");
    at = number ? atol(number) : 0;
    error = with ? atoi(with) : 0;
    if (log)
        log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    counted[1] = counted[2] = FILE_;
}

/* Return what a call is to fail with, or 0. */
static int fault(const char *name, const char *path, int fd) {
    char line[512];
    long number = atomic_fetch_add(&calls, 1) + 1;
    int length = path ? snprintf(line, sizeof line, "%s %s\n", name, path + strlen(root))
                      : snprintf(line, sizeof line, "%s %d\n", name, fd);
    if (log_fd >= 0)
        syscall(SYS_write, log_fd, line, length);
    if (number != at)
        return 0;
    if (!error)
        syscall(SYS_kill, getpid(), SIGKILL);
    return error;
}

static int at_path(const char *name, const char *path) {
    if (!root || !path || strncmp(path, root, strlen(root)))
        return 0;
    began = 1;
    return fault(name, path, -1);
}

static int at_fd(const char *name, int fd) {
    return began && fd >= 0 && fd < FDS && counted[fd] ? fault(name, NULL, fd) : 0;
}

static void count_fd(int fd, int kind) {
    if (fd >= 0 && fd < FDS)
        counted[fd] = kind;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(wrong) \
    do { \
        int wrong_ = (wrong); \
        if (wrong_) { \
            errno = wrong_; \
            return -1; \
        } \
    } while (0)

#define BY_FD(type, name, parameters, ...) \
    type name parameters { \
        FAIL_IF(at_fd(#name, fd)); \
        return REAL(name)(__VA_ARGS__); \
    }

BY_FD(ssize_t, read, (int fd, void *data, size_t size), fd, data, size)
BY_FD(ssize_t, pread64, (int fd, void *data, size_t size, off64_t place), fd, data, size, place)
BY_FD(ssize_t, write, (int fd, const void *data, size_t size), fd, data, size)
BY_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t place), fd, data, size, place)
BY_FD(ssize_t, send, (int fd, const void *data, size_t size, int flags), fd, data, size, flags)
BY_FD(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), fd, message, flags)
BY_FD(ssize_t, recv, (int fd, void *data, size_t size, int flags), fd, data, size, flags)
BY_FD(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), fd, message, flags)
BY_FD(int, fsync, (int fd), fd)
BY_FD(int, fdatasync, (int fd), fd)
BY_FD(int, ftruncate64, (int fd, off64_t size), fd, size)
BY_FD(int, fchmod, (int fd, mode_t mode), fd, mode)
BY_FD(int, fstat64, (int fd, struct stat64 *status), fd, status)

#define BY_PATH(type, name, parameters, ...) \
    type name parameters { \
        FAIL_IF(at_path(#name, path)); \
        return REAL(name)(__VA_ARGS__); \
    }

BY_PATH(int, rename, (const char *path, const char *to), path, to)
BY_PATH(int, unlink, (const char *path), path)
BY_PATH(int, mkdir, (const char *path, mode_t mode), path, mode)
BY_PATH(int, stat64, (const char *path, struct stat64 *status), path, status)
BY_PATH(int, lstat64, (const char *path, struct stat64 *status), path, status)

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    FAIL_IF(at_path("open", path));
    int fd = REAL(open64)(path, flags, mode);
    count_fd(fd, root && !strncmp(path, root, strlen(root)) ? FILE_ : 0);
    return fd;
}

int socket(int domain, int type, int protocol) {
    if (began)
        FAIL_IF(fault("socket", NULL, -1));
    int fd = REAL(socket)(domain, type, protocol);
    count_fd(fd, SOCKET);
    return fd;
}

/* An interrupted connect goes on by itself, and a close that fails has closed: they fail after they were done. A
   socket's close does not fail. */
int connect(int fd, const struct sockaddr *address, socklen_t size) {
    int with = at_fd("connect", fd);
    if (with && with != EINTR)
        FAIL_IF(with);
    int done = REAL(connect)(fd, address, size);
    FAIL_IF(with);
    return done;
}

int close(int fd) {
    int is_socket = fd >= 0 && fd < FDS && counted[fd] == SOCKET;
    int with = at_fd(is_socket ? "close_socket" : "close", fd);
    count_fd(fd, fd == 1 || fd == 2 ? FILE_ : 0);
    int done = REAL(close)(fd);
    FAIL_IF(is_socket ? 0 : with);
    return done;
}

/* It returns its error. */
int posix_fallocate64(int fd, off64_t begin, off64_t size) {
    int with = at_fd("posix_fallocate", fd);
    return with ? with : REAL(posix_fallocate64)(fd, begin, size);
}

int flock(int fd, int operation) {
    FAIL_IF(at_fd("flock", fd));
    return (int)syscall(SYS_flock, fd, operation);
}
