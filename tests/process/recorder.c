/* Records what a program does to one folder, so that a loss of power can be played back.
 *
 * Preloaded into a program. RECORD_ROOT is the folder, an absolute path; RECORD_LOG the file to
 * which records are appended, each with one write; see `struct record`. `process/recording.py`
 * reads them. Kinds:
 *
 *     C create  M mkdir  U unlink  D rmdir  R rename       paths relative to the folder
 *     W write  T truncate                                  by inode
 *     B, E  begin and end of an fsync that worked          what was written before B is durable at E
 *     O     a marker, "PROOF-" and eight digits, that leaves by anything outside the folder
 *
 * One lock orders records as the calls were; an fsync runs outside it. The trap: stores into a
 * mapped page do not come by here; the only one is LMDB's lock file, which means nothing later.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "PROOF-"
#define PREFIX_LENGTH 6
#define MARKER_LENGTH 14

struct record {
    char kind;
    uint8_t zeros; /* the data are zeros and left out */
    uint16_t path_length, other_length;
    uint16_t unused;
    uint64_t at_ns, inode, offset, length, token;
} __attribute__((packed));

static int record_fd = -1;
static char root[PATH_MAX];
static size_t root_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t syncs;

__attribute__((constructor)) static void open_log(void)
{
    const char *folder = getenv("RECORD_ROOT"), *path = getenv("RECORD_LOG");
    if (folder == NULL || path == NULL)
        return;
    root_length = (size_t)snprintf(root, sizeof root, "%s", folder);
    record_fd = (int)syscall(SYS_openat, AT_FDCWD, path,
                             O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void say(char kind, uint64_t inode, uint64_t offset, uint64_t token, const char *path,
                const char *other, const void *data, size_t length)
{
    struct timespec now;
    struct record head = {.kind = kind, .inode = inode, .offset = offset, .token = token};
    const char *bytes = data;
    int kept = errno;
    clock_gettime(CLOCK_MONOTONIC, &now);
    head.at_ns = (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
    head.path_length = (uint16_t)strlen(path);
    head.other_length = (uint16_t)strlen(other);
    head.length = length;
    head.zeros = length > 0 && bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
    struct iovec parts[] = {{&head, sizeof head},
                            {(void *)path, head.path_length},
                            {(void *)other, head.other_length},
                            {(void *)data, head.zeros ? 0 : length}};
    if (syscall(SYS_writev, record_fd, parts, 4) < 0)
        abort();
    errno = kept;
}

/* Return the path below the root, or NULL when the file is elsewhere. */
static const char *below(int folder, const char *path, char *whole)
{
    char link[64];
    ssize_t length = 0;
    if (record_fd < 0)
        return NULL;
    if (path != NULL && path[0] == '/') {
        snprintf(whole, PATH_MAX, "%s", path);
    } else {
        if (folder == AT_FDCWD)
            return NULL;
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = readlink(link, whole, PATH_MAX - 1);
        if (length <= 0)
            return NULL;
        whole[length] = 0;
        if (path != NULL)
            snprintf(whole + length, (size_t)(PATH_MAX - length), "/%s", path);
    }
    if (strncmp(whole, root, root_length) != 0)
        return NULL;
    if (whole[root_length] == 0)
        return whole + root_length;
    return whole[root_length] == '/' ? whole + root_length + 1 : NULL;
}

static int inside(int fd)
{
    char whole[PATH_MAX];
    int kept = errno;
    int found = below(fd, NULL, whole) != NULL;
    errno = kept;
    return found;
}

static uint64_t inode_of(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_ino : 0;
}

#define NEXT(result, name, ...)                                                                    \
    static result (*next)(__VA_ARGS__);                                                            \
    if (next == NULL)                                                                              \
    next = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* ---------------------------------------------------------------- names */

static int opened(int folder, const char *path, int flags, mode_t mode)
{
    char whole[PATH_MAX];
    const char *name = (flags & (O_CREAT | O_TRUNC)) ? below(folder, path, whole) : NULL;
    if (name == NULL)
        return (int)syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat before;
    int was = lstat(whole, &before) == 0;
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && !was)
        say('C', inode_of(fd), 0, 0, name, "", "", 0);
    else if (fd >= 0 && (flags & O_TRUNC))
        say('T', inode_of(fd), 0, 0, "", "", "", 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;                  \
        va_end(more);                                                                              \
        return opened(AT_FDCWD, path, flags, mode);                                                \
    }
#define OPENAT(name)                                                                               \
    int name(int folder, const char *path, int flags, ...)                                         \
    {                                                                                              \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;                  \
        va_end(more);                                                                              \
        return opened(folder, path, flags, mode);                                                  \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define NAMED(kind, call, folder, path)                                                            \
    char whole[PATH_MAX];                                                                          \
    pthread_mutex_lock(&lock);                                                                     \
    const char *name = below(folder, path, whole);                                                 \
    int result = call;                                                                             \
    if (result == 0 && name != NULL)                                                               \
        say(kind, 0, 0, 0, name, "", "", 0);                                                       \
    pthread_mutex_unlock(&lock);                                                                   \
    return result

int unlink(const char *path)
{
    NEXT(int, unlink, const char *);
    NAMED('U', next(path), AT_FDCWD, path);
}

int unlinkat(int folder, const char *path, int flags)
{
    NEXT(int, unlinkat, int, const char *, int);
    NAMED((flags & AT_REMOVEDIR) ? 'D' : 'U', next(folder, path, flags), folder, path);
}

int rmdir(const char *path)
{
    NEXT(int, rmdir, const char *);
    NAMED('D', next(path), AT_FDCWD, path);
}

static int made(int folder, const char *path, mode_t mode)
{
    char whole[PATH_MAX];
    struct stat found;
    pthread_mutex_lock(&lock);
    const char *name = below(folder, path, whole);
    int result = (int)syscall(SYS_mkdirat, folder, path, mode);
    if (result == 0 && name != NULL && lstat(whole, &found) == 0)
        say('M', found.st_ino, 0, 0, name, "", "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }

int mkdirat(int folder, const char *path, mode_t mode) { return made(folder, path, mode); }

static int renamed(int from, const char *old, int to, const char *fresh)
{
    char first[PATH_MAX], second[PATH_MAX];
    pthread_mutex_lock(&lock);
    const char *a = below(from, old, first), *b = below(to, fresh, second);
    int result = (int)syscall(SYS_renameat, from, old, to, fresh);
    if (result == 0 && a != NULL && b != NULL)
        say('R', 0, 0, 0, a, b, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *old, const char *fresh) { return renamed(AT_FDCWD, old, AT_FDCWD, fresh); }

int renameat(int from, const char *old, int to, const char *fresh)
{
    return renamed(from, old, to, fresh);
}

/* ---------------------------------------------------------------- bytes */

/* A pipe leads to the program itself. */
static void say_markers(int fd, const void *data, size_t length)
{
    const char *at = data, *end = at + length;
    struct stat found;
    if (memmem(data, length, PREFIX, PREFIX_LENGTH) == NULL || fstat(fd, &found) != 0 ||
        S_ISFIFO(found.st_mode))
        return;
    while (at + MARKER_LENGTH <= end) {
        const char *found = memmem(at, (size_t)(end - at), PREFIX, PREFIX_LENGTH);
        if (found == NULL || found + MARKER_LENGTH > end)
            return;
        pthread_mutex_lock(&lock);
        say('O', 0, 0, 0, "", "", found, MARKER_LENGTH);
        pthread_mutex_unlock(&lock);
        at = found + MARKER_LENGTH;
    }
}

/* Record what a call has written at an offset; the caller holds the lock. */
static void say_written(int fd, const struct iovec *parts, int count, off64_t at, ssize_t written)
{
    size_t left = written > 0 ? (size_t)written : 0;
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;
        say('W', inode_of(fd), (uint64_t)at, 0, "", "", parts[i].iov_base, part);
        at += (off64_t)part;
        left -= part;
    }
}

/* `at` is -1 for calls that write at the position of the descriptor. */
static ssize_t written(int fd, const struct iovec *parts, int count, off64_t at)
{
    if (record_fd < 0 || !inside(fd)) {
        if (record_fd >= 0)
            for (int i = 0; i < count; i++)
                say_markers(fd, parts[i].iov_base, parts[i].iov_len);
        if (at < 0)
            return syscall(SYS_writev, fd, parts, count);
        return syscall(SYS_pwritev, fd, parts, count, (long)at, 0L);
    }
    pthread_mutex_lock(&lock);
    off64_t from = at < 0 ? lseek64(fd, 0, SEEK_CUR) : at;
    ssize_t result = at < 0 ? syscall(SYS_writev, fd, parts, count)
                            : syscall(SYS_pwritev, fd, parts, count, (long)at, 0L);
    say_written(fd, parts, count, from, result);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t length)
{
    struct iovec part = {(void *)data, length};
    return written(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return written(fd, parts, count, -1);
}

#define PWRITE(name)                                                                               \
    ssize_t name(int fd, const void *data, size_t length, off64_t at)                              \
    {                                                                                              \
        struct iovec part = {(void *)data, length};                                                \
        return written(fd, &part, 1, at);                                                          \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(name)                                                                              \
    ssize_t name(int fd, const struct iovec *parts, int count, off64_t at)                         \
    {                                                                                              \
        return written(fd, parts, count, at);                                                      \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

/* What came through a pipe is read back; nobody else writes to that file meanwhile. */
ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned flags)
{
    NEXT(ssize_t, splice, int, off64_t *, int, off64_t *, size_t, unsigned);
    if (record_fd < 0 || out_at != NULL || !inside(out))
        return next(in, in_at, out, out_at, length, flags);
    off64_t from = lseek64(out, 0, SEEK_CUR);
    ssize_t moved = next(in, in_at, out, out_at, length, flags); /* may wait for another write */
    pthread_mutex_lock(&lock);
    if (moved > 0) {
        char link[64], *data = malloc((size_t)moved);
        snprintf(link, sizeof link, "/proc/self/fd/%d", out);
        int again = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
        if (data == NULL || pread64(again, data, (size_t)moved, from) != moved)
            abort();
        syscall(SYS_close, again);
        say('W', inode_of(out), (uint64_t)from, 0, "", "", data, (size_t)moved);
        free(data);
    }
    pthread_mutex_unlock(&lock);
    return moved;
}

#define TRUNCATE(name)                                                                             \
    int name(int fd, off64_t length)                                                               \
    {                                                                                              \
        int is_ours = record_fd >= 0 && inside(fd);                                                \
        pthread_mutex_lock(&lock);                                                                 \
        int result = (int)syscall(SYS_ftruncate, fd, length);                                      \
        if (result == 0 && is_ours)                                                                \
            say('T', inode_of(fd), (uint64_t)length, 0, "", "", "", 0);                            \
        pthread_mutex_unlock(&lock);                                                               \
        return result;                                                                             \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(name)                                                                                 \
    int name(int fd)                                                                               \
    {                                                                                              \
        NEXT(int, name, int);                                                                      \
        if (record_fd < 0 || !inside(fd))                                                          \
            return next(fd);                                                                       \
        pthread_mutex_lock(&lock);                                                                 \
        uint64_t token = ((uint64_t)getpid() << 32) | ++syncs, inode = inode_of(fd);               \
        say('B', inode, 0, token, "", "", "", 0);                                                  \
        pthread_mutex_unlock(&lock);                                                               \
        int result = next(fd);                                                                     \
        pthread_mutex_lock(&lock);                                                                 \
        if (result == 0)                                                                           \
            say('E', inode, 0, token, "", "", "", 0);                                              \
        pthread_mutex_unlock(&lock);                                                               \
        return result;                                                                             \
    }
SYNC(fsync)
SYNC(fdatasync)

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    NEXT(ssize_t, send, int, const void *, size_t, int);
    if (record_fd >= 0)
        say_markers(fd, data, length);
    return next(fd, data, length, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    NEXT(ssize_t, sendmsg, int, const struct msghdr *, int);
    if (record_fd >= 0)
        for (size_t i = 0; i < message->msg_iovlen; i++)
            say_markers(fd, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
    return next(fd, message, flags);
}
