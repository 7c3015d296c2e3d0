/* Lets one call of the system fail, or all from one on: preloaded into a process, it counts the calls on what lies
   below one folder, and says of each what it was.

   A process is harmless until it calls faults_arm. Numbers begin with 1; with a number of 0 nothing fails. What glibc
   calls of its own functions from within, as fopen does, goes past this; Python and Rust call what stands here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ONCE, FROM_THEN_ON, EVERY_OTHER };

static char folder[PATH_MAX];
static size_t folder_length;
static long failing, counted, interrupted;
static int number, mode, report = -1;

/* Below `below`, an absolute path without links, call `nth` fails with `error`; all are reported to the file `log`. */
int faults_arm(const char *below, long nth, int error, int how, const char *log)
{
    folder_length = strlen(below);
    memcpy(folder, below, folder_length + 1);
    failing = nth; number = error; mode = how; counted = interrupted = 0;
    report = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return report;
}

static int is_below(const char *path)
{
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int of_descriptor(int descriptor, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static void absolute(int at, const char *path, char *whole)
{
    if (path[0] == '/') { snprintf(whole, PATH_MAX, "%s", path); return; }
    char start[PATH_MAX];
    if (at == AT_FDCWD ? syscall(SYS_getcwd, start, sizeof start) < 0 : !of_descriptor(at, start)) start[0] = 0;
    /* Two names of PATH_MAX may be longer than the system takes; what is cut off is not below the folder. */
    if (snprintf(whole, PATH_MAX, "%s/%s", start, path) >= PATH_MAX) whole[0] = 0;
}

/* Counts a call on the path; 1 where it has to fail, with errno set. */
static int fails(const char *call, const char *path)
{
    if (!is_below(path)) return 0;
    long mine = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
    int hit = failing && (mode == ONCE ? mine == failing : mine >= failing);
    /* Whoever makes an interrupted call again must get through. POSIX has no interruption of calls that only look. */
    if (hit && mode == EVERY_OTHER) hit = strcmp(call, "stat") && strcmp(call, "opendir") && interrupted++ % 2 == 0;
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%ld%s %s %s\n", mine, hit ? "!" : "", call, path + folder_length);
    if (report >= 0 && mine < 100000) syscall(SYS_write, report, line, (size_t)length);
    if (hit) errno = number;
    return hit;
}

static int fails_at(const char *call, int at, const char *path)
{
    if (!folder_length || !path) return 0;
    int before = errno;
    char whole[PATH_MAX];
    absolute(at, path, whole);
    errno = before;
    return fails(call, whole);
}

static int fails_on(const char *call, int descriptor)
{
    if (!folder_length || descriptor < 0) return 0;
    int before = errno;
    char path[PATH_MAX];
    int is_named = of_descriptor(descriptor, path);
    errno = before;
    return is_named && fails(call, path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define MODE_OF(flags) mode_t permissions = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list rest; va_start(rest, flags); permissions = va_arg(rest, mode_t); va_end(rest); }
#define HOW(flags) (((flags) & O_ACCMODE) == O_RDONLY ? ((flags) & O_DIRECTORY ? "opendir" : "open-r") : "open-w")

#define OPEN(name) int name(const char *path, int flags, ...) { MODE_OF(flags) REAL(name); \
    return fails_at(HOW(flags), AT_FDCWD, path) ? -1 : real(path, flags, permissions); }
OPEN(open)
OPEN(open64)
#define OPENAT(name) int name(int at, const char *path, int flags, ...) { MODE_OF(flags) REAL(name); \
    return fails_at(HOW(flags), at, path) ? -1 : real(at, path, flags, permissions); }
OPENAT(openat)
OPENAT(openat64)

#define ON(type, name, call, arguments, ...) type name arguments { REAL(name); \
    return fails_on(call, descriptor) ? (type)-1 : real(__VA_ARGS__); }
ON(ssize_t, write, "write", (int descriptor, const void *bytes, size_t count), descriptor, bytes, count)
ON(ssize_t, writev, "write", (int descriptor, const struct iovec *parts, int count), descriptor, parts, count)
ON(ssize_t, pwrite, "write", (int descriptor, const void *bytes, size_t count, off_t at), descriptor, bytes, count, at)
ON(ssize_t, pwrite64, "write", (int descriptor, const void *bytes, size_t count, off64_t at), descriptor, bytes, count, at)
ON(ssize_t, sendfile, "sendfile", (int descriptor, int from, off_t *at, size_t count), descriptor, from, at, count)
ON(ssize_t, sendfile64, "sendfile", (int descriptor, int from, off64_t *at, size_t count), descriptor, from, at, count)
ON(int, fsync, "fsync", (int descriptor), descriptor)
ON(int, fdatasync, "fsync", (int descriptor), descriptor)
ON(int, ftruncate, "ftruncate", (int descriptor, off_t length), descriptor, length)
ON(int, ftruncate64, "ftruncate", (int descriptor, off64_t length), descriptor, length)
ON(int, flock, "flock", (int descriptor, int operation), descriptor, operation)
ON(int, fchmod, "chmod", (int descriptor, mode_t permissions), descriptor, permissions)

int close(int descriptor)
{
    REAL(close);
    /* Linux closes the file in any case. */
    int has_failed = fails_on("close", descriptor), error = errno;
    int result = real(descriptor);
    if (!has_failed) return result;
    errno = error;
    return -1;
}

#define MAP(name, offset) void *name(void *at, size_t length, int access, int flags, int descriptor, offset from) { \
    REAL(name); return fails_on("mmap", flags & MAP_ANONYMOUS ? -1 : descriptor) ? MAP_FAILED \
        : real(at, length, access, flags, descriptor, from); }
MAP(mmap, off_t)
MAP(mmap64, off64_t)

#define AT(name, call, at, arguments, ...) int name arguments { REAL(name); \
    return fails_at(call, at, path) ? -1 : real(__VA_ARGS__); }
AT(rename, "rename", AT_FDCWD, (const char *path, const char *to), path, to)
AT(renameat, "rename", at, (int at, const char *path, int there, const char *to), at, path, there, to)
AT(renameat2, "rename", at, (int at, const char *path, int there, const char *to, unsigned how), at, path, there, to, how)
AT(unlink, "unlink", AT_FDCWD, (const char *path), path)
AT(unlinkat, "unlink", at, (int at, const char *path, int flags), at, path, flags)
AT(rmdir, "unlink", AT_FDCWD, (const char *path), path)
AT(mkdir, "mkdir", AT_FDCWD, (const char *path, mode_t permissions), path, permissions)
AT(mkdirat, "mkdir", at, (int at, const char *path, mode_t permissions), at, path, permissions)
AT(truncate, "ftruncate", AT_FDCWD, (const char *path, off_t length), path, length)
AT(truncate64, "ftruncate", AT_FDCWD, (const char *path, off64_t length), path, length)
AT(chmod, "chmod", AT_FDCWD, (const char *path, mode_t permissions), path, permissions)
AT(fchmodat, "chmod", at, (int at, const char *path, mode_t permissions, int flags), at, path, permissions, flags)
AT(link, "link", AT_FDCWD, (const char *path, const char *to), path, to)
AT(linkat, "link", at, (int at, const char *path, int there, const char *to, int flags), at, path, there, to, flags)
AT(stat, "stat", AT_FDCWD, (const char *path, struct stat *facts), path, facts)
AT(stat64, "stat", AT_FDCWD, (const char *path, struct stat64 *facts), path, facts)
AT(lstat, "stat", AT_FDCWD, (const char *path, struct stat *facts), path, facts)
AT(lstat64, "stat", AT_FDCWD, (const char *path, struct stat64 *facts), path, facts)
AT(fstatat, "stat", at, (int at, const char *path, struct stat *facts, int flags), at, path, facts, flags)
AT(fstatat64, "stat", at, (int at, const char *path, struct stat64 *facts, int flags), at, path, facts, flags)
AT(statx, "stat", at, (int at, const char *path, int flags, unsigned mask, struct statx *facts), at, path, flags, mask, facts)

/* What lists a folder opens it within glibc. */
struct __dirstream *opendir(const char *path)
{
    struct __dirstream *opendir(const char *);
    REAL(opendir);
    return fails_at("opendir", AT_FDCWD, path) ? NULL : real(path);
}
