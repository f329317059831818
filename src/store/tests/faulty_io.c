/*
 * Preloaded into a process, this lets the n-th operation on files below a
 * directory fail, or ends the process there, also as a loss of power would:
 * without what was not synced.
 *
 *   FAULTY_IO_ROOT  the directory, an absolute path without links
 *   FAULTY_IO_NTH   which operation, from 1
 *   FAULTY_IO_MODE  read, fail, full, kill, torn, power or holes
 *   FAULTY_IO_HIT   a file that is made where it happens, and says what it was
 *
 * `read` counts the reads too; `full` only what needs room: writes and new names.
 * `torn` does half of a write, or all of another operation, before it kills.
 * `power` undoes all that was not synced: writes, truncations, and names in
 * directories. `holes` undoes every other write.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum what { WRITE, TRUNCATE, CREATE, MAKE_DIRECTORY, RENAME, REMOVE, REMOVE_DIRECTORY };

/* What can be undone until it is synced. */
struct change {
    enum what what;
    struct change *before;
    /* Of the file that was written, or of the directory with the name. */
    dev_t device;
    ino_t inode;
    int file;
    off_t offset, length_before;
    size_t n_bytes;
    char *bytes_before;
    char from[PATH_MAX], to[PATH_MAX], kept[PATH_MAX];
};

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct change *last;
static long n_operations, n_kept;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int mode_is(const char *mode) { return !strcmp(setting("FAULTY_IO_MODE"), mode); }
static int keeps_changes(void) { return mode_is("power") || mode_is("holes"); }

static int is_below(const char *path) {
    const char *root = setting("FAULTY_IO_ROOT");
    size_t n = strlen(root);
    return n && !strncmp(path, root, n) && path[n] == '/';
}

static int path_of(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = 0;
    return n > 0 && is_below(path);
}

/* The path that a call on a directory's handle means. */
static int path_at(int directory, const char *name, char *path) {
    if (name[0] == '/' || directory == AT_FDCWD) {
        snprintf(path, PATH_MAX, "%s", name);
        return is_below(path);
    }
    char parent[PATH_MAX];
    if (!path_of(directory, parent)) return 0;
    snprintf(path, PATH_MAX, "%.2000s/%.2000s", parent, name);
    return 1;
}

static void parent_of(const char *path, struct stat *stat_of) {
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = 0;
    memset(stat_of, 0, sizeof *stat_of);
    stat(parent, stat_of);
}

static struct change *push(enum what what, const struct stat *place) {
    struct change *change = calloc(1, sizeof *change);
    *change = (struct change){.what = what, .before = last, .device = place->st_dev, .inode = place->st_ino, .file = -1};
    last = change;
    return change;
}

static void free_change(struct change *change) {
    if (change->file >= 0) REAL(close)(change->file);
    if (change->kept[0]) REAL(unlink)(change->kept);
    free(change->bytes_before);
    free(change);
}

/* A second name for what is about to lose its own. */
static void keep(struct change *change, const char *path) {
    snprintf(change->kept, sizeof change->kept, "%.4000s.kept-%ld", setting("FAULTY_IO_HIT"), n_kept++);
    if (link(path, change->kept)) change->kept[0] = 0;
}

static void will_write(int file, enum what what, off_t offset, size_t n_bytes) {
    if (!keeps_changes()) return;
    struct stat place;
    if (fstat(file, &place)) return;
    struct change *change = push(what, &place);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    change->file = REAL(open64)(link, O_RDWR);
    change->offset = offset;
    change->length_before = place.st_size;
    change->n_bytes = n_bytes;
    change->bytes_before = calloc(1, n_bytes + 1);
    if (REAL(pread64)(change->file, change->bytes_before, n_bytes, offset) < 0) abort();
}

static void will_name(enum what what, const char *from, const char *to) {
    if (!keeps_changes()) return;
    struct stat place;
    parent_of(to, &place);
    struct change *change = push(what, &place);
    snprintf(change->from, sizeof change->from, "%s", from);
    snprintf(change->to, sizeof change->to, "%s", to);
    if (what == RENAME || what == REMOVE) keep(change, to);
}

static void was_synced(int file) {
    struct stat place;
    if (!keeps_changes() || fstat(file, &place)) return;
    struct change **at = &last;
    while (*at) {
        struct change *change = *at;
        if (change->device == place.st_dev && change->inode == place.st_ino) {
            *at = change->before;
            free_change(change);
        } else {
            at = &change->before;
        }
    }
}

static void undo(int drops_all) {
    long index = n_operations;
    for (struct change *change = last; change; change = change->before, index++) {
        switch (change->what) {
        case WRITE:
            if (!drops_all && index % 2) break;
            if (REAL(pwrite64)(change->file, change->bytes_before, change->n_bytes, change->offset) < 0) abort();
            if (drops_all && REAL(ftruncate64)(change->file, change->length_before)) abort();
            break;
        case TRUNCATE:
            if (!drops_all) break;
            if (REAL(ftruncate64)(change->file, change->length_before)) abort();
            if (REAL(pwrite64)(change->file, change->bytes_before, change->n_bytes, change->offset) < 0) abort();
            break;
        case CREATE:
            if (drops_all) REAL(unlink)(change->to);
            break;
        case MAKE_DIRECTORY:
            if (drops_all) REAL(rmdir)(change->to);
            break;
        case RENAME:
            if (!drops_all) break;
            REAL(rename)(change->to, change->from);
            if (change->kept[0]) REAL(rename)(change->kept, change->to);
            break;
        case REMOVE:
            if (drops_all && change->kept[0]) REAL(rename)(change->kept, change->to);
            break;
        case REMOVE_DIRECTORY:
            if (drops_all) REAL(mkdir)(change->to, 0700);
            break;
        }
    }
}

static void die(void) {
    if (keeps_changes()) undo(mode_is("power"));
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Whether it is this operation's turn. */
static int is_hit(const char *operation, const char *path) {
    if (mode_is("full") && !strchr("wcm", operation[0])) return 0;
    if (++n_operations != atol(setting("FAULTY_IO_NTH"))) return 0;
    int hit = REAL(open64)(setting("FAULTY_IO_HIT"), O_CREAT | O_WRONLY, 0600);
    dprintf(hit, "%s %s", operation, path + strlen(setting("FAULTY_IO_ROOT")) + 1);
    REAL(close)(hit);
    if (mode_is("fail") || mode_is("read") || mode_is("full")) {
        errno = mode_is("full") ? ENOSPC : EIO;
        return 1;
    }
    if (!mode_is("torn")) die();
    return 1;
}

#define LOCKED(type, body)                                                                         \
    pthread_mutex_lock(&lock);                                                                     \
    type result = ({ body; });                                                                     \
    pthread_mutex_unlock(&lock);                                                                   \
    return result

/* Does `real`, unless it is its turn. */
#define OPERATION(operation, path, failed, half, before, real, after)                              \
    LOCKED(__typeof__(real), __typeof__(real) done; if (is_hit(operation, path)) {                 \
        if (mode_is("torn")) { half; die(); }                                                      \
        done = (failed);                                                                           \
    } else {                                                                                       \
        before; done = (real); int error = errno; if (done >= 0) { after; } errno = error;         \
    } done)

ssize_t write(int file, const void *bytes, size_t n) {
    char path[PATH_MAX];
    if (!path_of(file, path)) return REAL(write)(file, bytes, n);
    off_t offset = fcntl(file, F_GETFL) & O_APPEND ? lseek(file, 0, SEEK_END) : lseek(file, 0, SEEK_CUR);
    OPERATION("write", path, -1, if (REAL(write)(file, bytes, n / 2) < 0) abort(),
              will_write(file, WRITE, offset, n), REAL(write)(file, bytes, n), );
}

ssize_t pwrite64(int file, const void *bytes, size_t n, off64_t offset) {
    char path[PATH_MAX];
    if (!path_of(file, path)) return REAL(pwrite64)(file, bytes, n, offset);
    OPERATION("write", path, -1, if (REAL(pwrite64)(file, bytes, n / 2, offset) < 0) abort(),
              will_write(file, WRITE, offset, n), REAL(pwrite64)(file, bytes, n, offset), );
}

/* As one write of the first of them: whoever calls goes on with the rest. */
ssize_t writev(int file, const struct iovec *parts, int n_parts) {
    char path[PATH_MAX];
    if (!path_of(file, path)) return REAL(writev)(file, parts, n_parts);
    for (int i = 0; i < n_parts; i++)
        if (parts[i].iov_len) return write(file, parts[i].iov_base, parts[i].iov_len);
    return 0;
}

ssize_t read(int file, void *bytes, size_t n) {
    char path[PATH_MAX];
    if (!mode_is("read") || !path_of(file, path)) return REAL(read)(file, bytes, n);
    OPERATION("read", path, -1, , , REAL(read)(file, bytes, n), );
}

ssize_t pread64(int file, void *bytes, size_t n, off64_t offset) {
    char path[PATH_MAX];
    if (!mode_is("read") || !path_of(file, path)) return REAL(pread64)(file, bytes, n, offset);
    OPERATION("read", path, -1, , , REAL(pread64)(file, bytes, n, offset), );
}

int fsync(int file) {
    char path[PATH_MAX];
    if (!path_of(file, path)) return REAL(fsync)(file);
    OPERATION("sync", path, -1, , , REAL(fsync)(file), was_synced(file));
}

int fdatasync(int file) {
    char path[PATH_MAX];
    if (!path_of(file, path)) return REAL(fdatasync)(file);
    OPERATION("sync", path, -1, , , REAL(fdatasync)(file), was_synced(file));
}

int ftruncate64(int file, off64_t length) {
    char path[PATH_MAX];
    struct stat place;
    if (!path_of(file, path) || fstat(file, &place)) return REAL(ftruncate64)(file, length);
    size_t n_lost = place.st_size > length ? place.st_size - length : 0;
    OPERATION("truncate", path, -1, REAL(ftruncate64)(file, length),
              will_write(file, TRUNCATE, length, n_lost), REAL(ftruncate64)(file, length), );
}

static int open_at(int directory, const char *name, int flags, int permissions) {
    char path[PATH_MAX];
    int creates = (flags & O_CREAT) && path_at(directory, name, path) && access(path, F_OK);
    if (!creates) return REAL(openat64)(directory, name, flags, permissions);
    OPERATION("create", path, -1, REAL(openat64)(directory, name, flags, permissions),
              will_name(CREATE, "", path), REAL(openat64)(directory, name, flags, permissions), );
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int permissions = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    return open_at(AT_FDCWD, path, flags, permissions);
}

int openat64(int directory, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int permissions = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    return open_at(directory, path, flags, permissions);
}

int mkdir(const char *path, mode_t permissions) {
    if (!is_below(path) || !access(path, F_OK)) return REAL(mkdir)(path, permissions);
    OPERATION("mkdir", path, -1, REAL(mkdir)(path, permissions), will_name(MAKE_DIRECTORY, "", path),
              REAL(mkdir)(path, permissions), );
}

int rename(const char *from, const char *to) {
    if (!is_below(to)) return REAL(rename)(from, to);
    OPERATION("rename", to, -1, REAL(rename)(from, to), will_name(RENAME, from, to), REAL(rename)(from, to), );
}

int unlink(const char *path) {
    if (!is_below(path)) return REAL(unlink)(path);
    OPERATION("remove", path, -1, REAL(unlink)(path), will_name(REMOVE, "", path), REAL(unlink)(path), );
}

int rmdir(const char *path) {
    if (!is_below(path)) return REAL(rmdir)(path);
    OPERATION("remove", path, -1, REAL(rmdir)(path), will_name(REMOVE_DIRECTORY, "", path), REAL(rmdir)(path), );
}

int unlinkat(int directory, const char *name, int flags) {
    char path[PATH_MAX];
    if (!path_at(directory, name, path)) return REAL(unlinkat)(directory, name, flags);
    enum what what = flags & AT_REMOVEDIR ? REMOVE_DIRECTORY : REMOVE;
    OPERATION("remove", path, -1, REAL(unlinkat)(directory, name, flags), will_name(what, "", path),
              REAL(unlinkat)(directory, name, flags), );
}
