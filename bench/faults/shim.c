/* Counts the file operations of a process below one folder, records them, and makes one of them (or all from one on) fail.

   Loaded with LD_PRELOAD, so that it sees what Python, polars (Rust), SQLite (C) and torch ask of the system. Armed by fault_arm() in the
   process that is to fail. Linux alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, KILL_BEFORE, KILL_AFTER, ERROR, SHORT };

static char root[PATH_MAX];
static size_t root_size;
static int mode, failure, forever, trace = -1, with_data;
static long at;
static atomic_long count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t real_write(int fd, const void *data, size_t size) {
  REAL(write);
  return real(fd, data, size);
}

/* Arms the process: operations below `folder` are counted from 1; `number` is the first that fails; `file` gets the record (-1: none). */
void fault_arm(const char *folder, int how, int error, long number, int always, int file, int data) {
  mode = how, failure = error, at = number, forever = always, trace = file, with_data = data;
  count = 0;
  strncpy(root, folder, sizeof root - 1);
  root_size = strlen(root);
}

long fault_count(void) { return count; }

static int below(const char *path) {
  return root_size && !strncmp(path, root, root_size) && (path[root_size] == '/' || !path[root_size]);
}

static const char *of_fd(int fd, char *out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, out, PATH_MAX - 1);
  out[size < 0 ? 0 : size] = 0;
  return out;
}

static const char *whole(int folder, const char *path, char *out) {
  if (path[0] == '/') return path;
  char base[PATH_MAX];
  if (folder == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) base[0] = 0;
  } else
    of_fd(folder, base);
  snprintf(out, PATH_MAX * 2, "%s/%s", base, path);
  return out;
}

/* One line of the record; what was written follows the line of a write. */
static void record(char what, const char *path, const char *second, long place, size_t size, const void *data) {
  if (trace < 0) return;
  char line[PATH_MAX * 3];
  int kept = with_data && data;
  int length = snprintf(line, sizeof line, "%c\x1f%s\x1f%s\x1f%ld\x1f%zu\x1f%d\n", what, path, second ? second : "", place, size, kept);
  pthread_mutex_lock(&lock);
  real_write(trace, line, length);
  if (kept) real_write(trace, data, size);
  pthread_mutex_unlock(&lock);
}

/* Whether a kind of operation can fail in this way: a full disk lets one read and remove, a right that lacks lets open files be written. */
static int applies(char what) {
  if (mode == SHORT) return what == 'w';
  if (mode != ERROR) return 1;
  if (failure == ENOSPC) return strchr("owsmnt", what) != NULL;
  if (failure == EACCES) return strchr("ormnuc", what) != NULL;
  return 1;
}

/* Counts an operation; returns what happens to it. */
static int next(char what, const char *path, const char *second, long place, size_t size, const void *data) {
  long number = ++count;
  record(what, path, second, place, size, data);
  if (mode == NONE || number < at || (number > at && !forever) || !applies(what)) return NONE;
  if (mode == KILL_BEFORE) kill(getpid(), SIGKILL);
  return mode;
}

#define CHECKED(result, call, ...) \
  int saved = errno, fate = next(__VA_ARGS__); \
  errno = saved; \
  if (fate == ERROR) { errno = failure; return -1; } \
  result = call; \
  if (fate == KILL_AFTER) kill(getpid(), SIGKILL); \
  return result

static int opens(const char *path, int flags) {
  return below(path) && !(flags & (O_DIRECTORY | O_PATH));
}

static int openat_like(int folder, const char *path, int flags, mode_t rights) {
  REAL(openat64);
  char space[PATH_MAX * 2];
  const char *name = whole(folder, path, space);
  if (!opens(name, flags)) return real(folder, path, flags, rights);
  char what = (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT) ? 'r' : 'o';
  int result;
  CHECKED(result, real(folder, path, flags, rights), what, name, NULL, (flags & O_TRUNC) != 0, 0, NULL);
}

#define RIGHTS \
  mode_t rights = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); rights = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { RIGHTS return openat_like(AT_FDCWD, path, flags, rights); }
int open64(const char *path, int flags, ...) { RIGHTS return openat_like(AT_FDCWD, path, flags | O_LARGEFILE, rights); }
int openat(int folder, const char *path, int flags, ...) { RIGHTS return openat_like(folder, path, flags, rights); }
int openat64(int folder, const char *path, int flags, ...) { RIGHTS return openat_like(folder, path, flags | O_LARGEFILE, rights); }

static size_t cut(size_t size) { return size > 1 ? size / 2 : size; }

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  char path[PATH_MAX];
  if (!root_size || !below(of_fd(fd, path)) || !size) return real(fd, data, size);
  int fate = next('w', path, NULL, lseek(fd, 0, SEEK_CUR), size, data);
  if (fate == ERROR) { errno = failure; return -1; }
  ssize_t result = real(fd, data, fate == SHORT ? cut(size) : size);
  if (fate == KILL_AFTER) kill(getpid(), SIGKILL);
  return result;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
  REAL(pwrite64);
  char path[PATH_MAX];
  if (!root_size || !below(of_fd(fd, path)) || !size) return real(fd, data, size, place);
  int fate = next('w', path, NULL, place, size, data);
  if (fate == ERROR) { errno = failure; return -1; }
  ssize_t result = real(fd, data, fate == SHORT ? cut(size) : size, place);
  if (fate == KILL_AFTER) kill(getpid(), SIGKILL);
  return result;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place) { return pwrite64(fd, data, size, place); }

ssize_t writev(int fd, const struct iovec *parts, int number) {
  REAL(writev);
  char path[PATH_MAX];
  if (!root_size || !below(of_fd(fd, path))) return real(fd, parts, number);
  ssize_t done = 0; /* one write after another: a write of several parts may be cut anywhere */
  for (int i = 0; i < number; i++) {
    ssize_t some = write(fd, parts[i].iov_base, parts[i].iov_len);
    if (some < 0) return done ? done : some;
    done += some;
    if ((size_t)some < parts[i].iov_len) break;
  }
  return done;
}

/* Copies inside of the system are made by write, which callers fall back to. */
ssize_t sendfile64(int out, int in, off64_t *place, size_t size) {
  REAL(sendfile64);
  char path[PATH_MAX];
  if (!root_size || !below(of_fd(out, path))) return real(out, in, place, size);
  errno = EINVAL;
  return -1;
}
ssize_t sendfile(int out, int in, off_t *place, size_t size) { return sendfile64(out, in, place, size); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
  REAL(copy_file_range);
  char path[PATH_MAX];
  if (!root_size || !below(of_fd(out, path))) return real(in, from, out, to, size, flags);
  errno = EXDEV;
  return -1;
}

size_t fwrite(const void *data, size_t size, size_t number, FILE *file) {
  REAL(fwrite);
  char path[PATH_MAX];
  if (!root_size || !below(of_fd(fileno(file), path)) || !size || !number) return real(data, size, number, file);
  int fate = next('w', path, NULL, ftell(file), size * number, data);
  if (fate == ERROR) { errno = failure; return 0; }
  size_t result = real(data, size, fate == SHORT ? 0 : number, file); /* stdio writes all or says that it failed */
  if (fate == SHORT) errno = ENOSPC;
  if (fate == KILL_AFTER) { fflush(file); kill(getpid(), SIGKILL); }
  return result;
}

#define OF_FD(name, what, place, arguments, ...) \
  REAL(name); \
  char path[PATH_MAX]; \
  if (!root_size || !below(of_fd(fd, path))) return real(__VA_ARGS__); \
  int result; \
  CHECKED(result, real(__VA_ARGS__), what, path, NULL, place, 0, NULL)

int fsync(int fd) { OF_FD(fsync, 's', 0, , fd); }
int fdatasync(int fd) { OF_FD(fdatasync, 's', 0, , fd); }
int ftruncate64(int fd, off64_t size) { OF_FD(ftruncate64, 't', size, , fd, size); }
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int fchmod(int fd, mode_t rights) { OF_FD(fchmod, 'c', 0, , fd, rights); }

#define OF_PATH(name, what, folder, ...) \
  REAL(name); \
  char space[PATH_MAX * 2]; \
  const char *full = whole(folder, path, space); \
  if (!below(full)) return real(__VA_ARGS__); \
  int result; \
  CHECKED(result, real(__VA_ARGS__), what, full, NULL, 0, 0, NULL)

int unlink(const char *path) { OF_PATH(unlink, 'u', AT_FDCWD, path); }
int unlinkat(int folder, const char *path, int flags) { OF_PATH(unlinkat, flags & AT_REMOVEDIR ? 'u' : 'u', folder, folder, path, flags); }
int rmdir(const char *path) { OF_PATH(rmdir, 'u', AT_FDCWD, path); }
int mkdir(const char *path, mode_t rights) { OF_PATH(mkdir, 'm', AT_FDCWD, path, rights); }
int mkdirat(int folder, const char *path, mode_t rights) { OF_PATH(mkdirat, 'm', folder, folder, path, rights); }
int chmod(const char *path, mode_t rights) { OF_PATH(chmod, 'c', AT_FDCWD, path, rights); }
int fchmodat(int folder, const char *path, mode_t rights, int flags) { OF_PATH(fchmodat, 'c', folder, folder, path, rights, flags); }

static int renames(const char *from, const char *to) {
  REAL(rename);
  int result;
  CHECKED(result, real(from, to), 'n', from, to, 0, 0, NULL);
}

int rename(const char *from, const char *to) {
  REAL(rename);
  char first[PATH_MAX * 2], second[PATH_MAX * 2];
  const char *a = whole(AT_FDCWD, from, first), *b = whole(AT_FDCWD, to, second);
  return below(a) || below(b) ? renames(a, b) : real(from, to);
}
int renameat(int f, const char *from, int t, const char *to) {
  REAL(renameat);
  char first[PATH_MAX * 2], second[PATH_MAX * 2];
  const char *a = whole(f, from, first), *b = whole(t, to, second);
  return below(a) || below(b) ? renames(a, b) : real(f, from, t, to);
}
