/* Records, in order of time, what a program writes, syncs and sends; and may slow its syncs.
 *
 * Preloaded into a member. PROOF_TRACE names the file (".<pid>" is added), PROOF_DELAY a file:
 * while it exists, every fdatasync of a file under /wal/ first waits PROOF_DELAY_MS. Lines:
 *
 *     W <begin ns> <end ns> <fd> <marker>   a pwrite of bytes that hold the marker, under /wal/
 *     S <begin ns> <end ns> <fd> <result>   an fdatasync or fsync of a file under /wal/
 *     O <begin ns> <end ns> <fd> <marker>   bytes with the marker that leave for anything else
 *
 * A marker is "PROOF-" and eight digits. Times are CLOCK_MONOTONIC, the same for all processes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "PROOF-"
#define PREFIX_LENGTH 6
#define MARKER_LENGTH 14

static int trace_fd = -1;

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

__attribute__((constructor)) static void open_trace(void)
{
    const char *path = getenv("PROOF_TRACE");
    char name[4096];
    if (path == NULL)
        return;
    snprintf(name, sizeof name, "%s.%d", path, (int)getpid());
    trace_fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void say(char kind, long long begin, long long end, int fd, const char *what, int length)
{
    char line[256];
    int size = snprintf(line, sizeof line, "%c %lld %lld %d %.*s\n", kind, begin, end, fd, length,
                        what);
    if (trace_fd >= 0)
        syscall(SYS_write, trace_fd, line, (size_t)size);
}

static int is_wal(int fd)
{
    char link[64], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strstr(path, "/wal/") != NULL;
}

static void say_markers(char kind, long long begin, int fd, const void *data, size_t length)
{
    const char *at = data, *end = at + length;
    while (at + MARKER_LENGTH <= end) {
        const char *found = memmem(at, (size_t)(end - at), PREFIX, PREFIX_LENGTH);
        if (found == NULL || found + MARKER_LENGTH > end)
            return;
        say(kind, begin, now_ns(), fd, found, MARKER_LENGTH);
        at = found + MARKER_LENGTH;
    }
}

/* For what leaves, the record is made before the call: nobody can have it earlier. */
static void leaves(int fd, const void *data, size_t length)
{
    if (trace_fd >= 0 && length >= MARKER_LENGTH && memmem(data, length, PREFIX, PREFIX_LENGTH))
        if (!is_wal(fd))
            say_markers('O', now_ns(), fd, data, length);
}

static void all_leave(int fd, const struct iovec *parts, size_t count)
{
    for (size_t number = 0; number < count; number++)
        leaves(fd, parts[number].iov_base, parts[number].iov_len);
}

ssize_t write(int fd, const void *data, size_t length)
{
    leaves(fd, data, length);
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return next(fd, data, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    all_leave(fd, parts, (size_t)count);
    ssize_t (*next)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    return next(fd, parts, count);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    leaves(fd, data, length);
    ssize_t (*next)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
    return next(fd, data, length, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    all_leave(fd, message->msg_iov, message->msg_iovlen);
    ssize_t (*next)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
    return next(fd, message, flags);
}

static ssize_t written(const char *name, int fd, const void *data, size_t length, off_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, name);
    long long begin = now_ns();
    ssize_t result = next(fd, data, length, offset);
    if (trace_fd >= 0 && memmem(data, length, PREFIX, PREFIX_LENGTH) && is_wal(fd))
        say_markers('W', begin, fd, data, length);
    return result;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return written("pwrite", fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset)
{
    return written("pwrite64", fd, data, length, offset);
}

static void wait_as_told(void)
{
    const char *told = getenv("PROOF_DELAY"), *ms = getenv("PROOF_DELAY_MS");
    if (told != NULL && ms != NULL && access(told, F_OK) == 0)
        usleep((useconds_t)(atoi(ms) * 1000));
}

static int synced(const char *name, int fd)
{
    int (*next)(int) = dlsym(RTLD_NEXT, name);
    if (trace_fd < 0 || !is_wal(fd))
        return next(fd);
    long long begin = now_ns();
    wait_as_told();
    int result = next(fd);
    say('S', begin, now_ns(), fd, result == 0 ? "0" : "1", 1);
    return result;
}

int fdatasync(int fd)
{
    return synced("fdatasync", fd);
}

int fsync(int fd)
{
    return synced("fsync", fd);
}
