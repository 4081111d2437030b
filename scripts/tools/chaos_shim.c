/* Makes the n-th change of a file below a folder fail, for scripts/chaos.py.
 *
 * Preloaded into a command. CHAOS_FOLDER: only changes below it count. CHAOS_COUNT: a
 * file of 8 bytes that all processes of the command share, the number of changes so
 * far. CHAOS_AT: the change that fails; 0: none, they are only counted. CHAOS_FAULT:
 *   kill    the process is killed before the change
 *   full    from this change on, nothing more fits (ENOSPC)
 *   broken  this change alone fails (EIO)
 *   short   this write takes half of its bytes and says so
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PASS, FAIL, HALF };

static _Atomic long *count;
static const char *folder;
static long at;
static char fault;

#define NEXT(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("CHAOS_COUNT"), *number = getenv("CHAOS_AT");
  const char *kind = getenv("CHAOS_FAULT");
  folder = getenv("CHAOS_FOLDER");
  if (!path || !folder) return;
  int fd = NEXT(open)(path, O_RDWR);
  if (fd < 0) return;
  void *map = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  at = number ? atol(number) : 0;
  fault = kind ? kind[0] : 'k';
  if (map != MAP_FAILED) count = map;
}

static int below(const char *path) {
  size_t n = strlen(folder);
  return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* What happens to a change of this path. */
static int change(const char *path) {
  if (!count || !below(path)) return PASS;
  long n = atomic_fetch_add(count, 1) + 1;
  if (!at || n < at) return PASS;
  if (fault == 'f') {
    errno = ENOSPC;
    return FAIL;
  }
  if (n != at) return PASS;
  if (fault == 'k') kill(getpid(), SIGKILL);
  if (fault == 's') return HALF;
  errno = EIO;
  return FAIL;
}

static int change_fd(int fd) {
  char link[64], path[PATH_MAX];
  if (!count) return PASS;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return PASS;
  path[n] = 0;
  return change(path);
}

static int change_at(int directory, const char *name) {
  char link[64], path[2 * PATH_MAX];
  if (!count || !name) return PASS;
  if (name[0] == '/') return change(name);
  if (directory == AT_FDCWD)
    snprintf(link, sizeof link, "/proc/self/cwd");
  else
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
  ssize_t n = readlink(link, path, PATH_MAX);
  if (n < 0) return PASS;
  snprintf(path + n, PATH_MAX, "/%s", name);
  return change(path);
}

ssize_t write(int fd, const void *data, size_t size) {
  int what = change_fd(fd);
  if (what == FAIL) return -1;
  return NEXT(write)(fd, data, what == HALF && size > 1 ? size / 2 : size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  int what = change_fd(fd);
  if (what == FAIL) return -1;
  return NEXT(pwrite)(fd, data, what == HALF && size > 1 ? size / 2 : size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  int what = change_fd(fd);
  if (what == FAIL) return -1;
  return NEXT(pwrite64)(fd, data, what == HALF && size > 1 ? size / 2 : size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
  int what = change_fd(fd);
  if (what == FAIL) return -1;
  if (what == HALF && n > 0)
    return NEXT(write)(fd, parts[0].iov_base, (parts[0].iov_len + 1) / 2);
  return NEXT(writev)(fd, parts, n);
}

int fsync(int fd) { return change_fd(fd) == FAIL ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return change_fd(fd) == FAIL ? -1 : NEXT(fdatasync)(fd); }

int ftruncate(int fd, off_t size) {
  return change_fd(fd) == FAIL ? -1 : NEXT(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size) {
  return change_fd(fd) == FAIL ? -1 : NEXT(ftruncate64)(fd, size);
}

int rename(const char *old, const char *new) {
  return change_at(AT_FDCWD, new) == FAIL ? -1 : NEXT(rename)(old, new);
}

int renameat(int from, const char *old, int to, const char *new) {
  return change_at(to, new) == FAIL ? -1 : NEXT(renameat)(from, old, to, new);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
  return change_at(to, new) == FAIL ? -1 : NEXT(renameat2)(from, old, to, new, flags);
}

int mkdir(const char *path, mode_t mode) {
  return change_at(AT_FDCWD, path) == FAIL ? -1 : NEXT(mkdir)(path, mode);
}

int mkdirat(int directory, const char *path, mode_t mode) {
  return change_at(directory, path) == FAIL ? -1 : NEXT(mkdirat)(directory, path, mode);
}

#define OPENING(flags) ((flags) & O_CREAT)
#define MODE(flags)                   \
  mode_t mode = 0;                    \
  if (OPENING(flags)) {               \
    va_list rest;                     \
    va_start(rest, flags);            \
    mode = va_arg(rest, mode_t);      \
    va_end(rest);                     \
  }

int open(const char *path, int flags, ...) {
  MODE(flags)
  if (OPENING(flags) && change_at(AT_FDCWD, path) == FAIL) return -1;
  return NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE(flags)
  if (OPENING(flags) && change_at(AT_FDCWD, path) == FAIL) return -1;
  return NEXT(open64)(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
  MODE(flags)
  if (OPENING(flags) && change_at(directory, path) == FAIL) return -1;
  return NEXT(openat)(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
  MODE(flags)
  if (OPENING(flags) && change_at(directory, path) == FAIL) return -1;
  return NEXT(openat64)(directory, path, flags, mode);
}
