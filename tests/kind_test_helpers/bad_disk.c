/* Makes a disk slow, or makes it fail, for one program and while a file says so.
 *
 * Preloaded into a program. BAD_DISK names the file, or it is ".bad-disk" in the folder that
 * BAD_DISK_DEFAULT names when this is compiled. While it exists it holds one line of words:
 *
 *     sync-slow <milliseconds> <part>    fsync, fdatasync and msync wait before they begin
 *     sync-fails <errno> <part>          they fail, and nothing is synced
 *     write-fails <errno> <part>         write, pwrite, writev and pwritev fail
 *     read-fails <errno> <part>          read, pread and preadv fail
 *
 * and, if only the n-th such call of a program and the later ones are meant, a number n behind it;
 * for files whose path holds the part; "/" is in every path, and sockets and pipes have none.
 * The trap: io_uring and stores into a mapped page do not come by here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef BAD_DISK_DEFAULT
#define BAD_DISK_DEFAULT "/var/lib/faunadb/.bad-disk"
#endif

struct order {
    char what[32];
    long value, nth;
    char part[256];
};

static int ordered(struct order *found)
{
    const char *path = getenv("BAD_DISK");
    char line[512];
    int file = (int)syscall(SYS_openat, AT_FDCWD, path ? path : BAD_DISK_DEFAULT,
                            O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = syscall(SYS_read, file, line, sizeof line - 1);
    syscall(SYS_close, file);
    if (length <= 0)
        return 0;
    line[length] = '\0';
    memset(found, 0, sizeof *found);
    found->nth = 1;
    return sscanf(line, "%31s %ld %255s %ld", found->what, &found->value, found->part,
                  &found->nth) >= 3;
}

static int is_meant(int descriptor, const struct order *order)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = '\0';
    return path[0] == '/' && strncmp(path, "/dev/", 5) != 0 && strstr(path, order->part) != NULL;
}

static void pause_ms(long milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* Count the calls that an order means; a new order begins anew. */
static int is_due(const struct order *order)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct order last;
    static long count;
    pthread_mutex_lock(&lock);
    if (memcmp(&last, order, sizeof last) != 0) {
        last = *order;
        count = 0;
    }
    int due = ++count >= order->nth;
    pthread_mutex_unlock(&lock);
    return due;
}

/* Return whether the call has to fail, with errno set. */
static int fails(const char *what, int descriptor)
{
    struct order order;
    int kept = errno;
    int meant = ordered(&order) && strcmp(order.what, what) == 0 && is_meant(descriptor, &order) &&
                is_due(&order);
    errno = meant ? (int)order.value : kept;
    return meant;
}

static void slows(int descriptor)
{
    struct order order;
    int kept = errno;
    if (ordered(&order) && strcmp(order.what, "sync-slow") == 0 && is_meant(descriptor, &order))
        pause_ms(order.value);
    errno = kept;
}

#define NEXT(result, name, ...)                                                                    \
    static result (*next)(__VA_ARGS__);                                                            \
    if (next == NULL)                                                                              \
    next = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define SYNC(name)                                                                                 \
    int name(int descriptor)                                                                       \
    {                                                                                              \
        NEXT(int, name, int);                                                                      \
        if (fails("sync-fails", descriptor))                                                       \
            return -1;                                                                             \
        slows(descriptor);                                                                         \
        return next(descriptor);                                                                   \
    }

#define MOVE(what, name, parameters, arguments, ...)                                               \
    ssize_t name parameters                                                                        \
    {                                                                                              \
        NEXT(ssize_t, name, __VA_ARGS__);                                                          \
        if (fails(what, descriptor))                                                               \
            return -1;                                                                             \
        return next arguments;                                                                     \
    }

#define W "write-fails"
#define R "read-fails"

SYNC(fsync)
SYNC(fdatasync)
MOVE(W, write, (int descriptor, const void *b, size_t n), (descriptor, b, n), int, const void *,
     size_t)
MOVE(W, pwrite, (int descriptor, const void *b, size_t n, off_t at), (descriptor, b, n, at), int,
     const void *, size_t, off_t)
MOVE(W, pwrite64, (int descriptor, const void *b, size_t n, off64_t at), (descriptor, b, n, at),
     int, const void *, size_t, off64_t)
MOVE(W, writev, (int descriptor, const struct iovec *b, int n), (descriptor, b, n), int,
     const struct iovec *, int)
MOVE(W, pwritev, (int descriptor, const struct iovec *b, int n, off_t at), (descriptor, b, n, at),
     int, const struct iovec *, int, off_t)
MOVE(W, pwritev64, (int descriptor, const struct iovec *b, int n, off64_t at),
     (descriptor, b, n, at), int, const struct iovec *, int, off64_t)
MOVE(R, read, (int descriptor, void *b, size_t n), (descriptor, b, n), int, void *, size_t)
MOVE(R, pread, (int descriptor, void *b, size_t n, off_t at), (descriptor, b, n, at), int, void *,
     size_t, off_t)
MOVE(R, pread64, (int descriptor, void *b, size_t n, off64_t at), (descriptor, b, n, at), int,
     void *, size_t, off64_t)
MOVE(R, preadv64, (int descriptor, const struct iovec *b, int n, off64_t at),
     (descriptor, b, n, at), int, const struct iovec *, int, off64_t)
