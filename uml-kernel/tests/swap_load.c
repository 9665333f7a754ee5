// More memory than the guest has: swap_load MODE MEBIBYTES. Every word of it is derived from its address, and all are looked at.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE (1 << 20)
#define CHECK(x) do { if (!(x)) { printf("line %d: %s: %s\n", __LINE__, #x, strerror(errno)); exit(1); } } while (0)

static uint64_t word(uint64_t at, uint64_t salt) {
    return (at ^ salt << 48) * 0x9e3779b97f4a7c15u + salt;
}

static void fill(char *p, size_t len, uint64_t salt) {
    for (size_t i = 0; i < len; i += 8) *(uint64_t *)(p + i) = word((uint64_t)(p + i), salt);
}

// `base`: the address that it was filled at.
static void verify_as(const char *p, size_t len, uint64_t base, uint64_t salt, const char *who) {
    for (size_t i = 0; i < len; i += 8)
        if (*(volatile uint64_t *)(p + i) != word(base + i, salt)) {
            printf("%s: %p is %lx\n", who, p + i, *(uint64_t *)(p + i));
            exit(1);
        }
}

static void verify(const char *p, size_t len, uint64_t salt, const char *who) {
    verify_as(p, len, (uint64_t)p, salt, who);
}

static char *take(size_t len) {
    char *p = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

// One mapping, made in pieces, as no single request may exceed all memory.
static char *take_much(size_t len) {
    char *p = mmap(0, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED);
    for (size_t i = 0; i < len; i += PIECE)
        CHECK(mmap(p + i, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + i);
    return p;
}

static long swapped(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    long kb = -1;
    CHECK(f);
    while (fgets(line, sizeof line, f)) sscanf(line, "VmSwap: %ld", &kb);
    fclose(f);
    return kb;
}

static int reap(pid_t pid) {
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

// Both sides of a fork have all of it, and what one changes the other does not see.
static void forked(char *p, size_t len) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        verify(p, len, 1, "child");
        fill(p, len / 4, 2);
        verify(p, len / 4, 2, "child, changed");
        verify(p + len / 4, len - len / 4, 1, "child, the rest");
        _exit(0);
    }
    verify(p, len, 1, "parent");
    fill(p + len / 2, len / 4, 3);
    CHECK(reap(pid) == 0);
    verify(p, len / 2, 1, "parent, first half");
    verify(p + len / 2, len / 4, 3, "parent, changed");
    verify(p + len / 4 * 3, len / 4, 1, "parent, last");
    fill(p + len / 2, len / 4, 1);
    puts("forked");
}

// The kernel reads what is swapped out, and writes there.
static void by_calls(char *p, size_t len) {
    char name[] = "/tmp/swapXXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0);
    size_t n = 4 << 20;
    CHECK(write(fd, p, n) == (ssize_t)n);
    char *other = p + len / 2;
    CHECK(pread(fd, other, n, 0) == (ssize_t)n);
    verify_as(other, n, (uint64_t)p, 1, "read back");
    fill(other, n, 1);
    // Odd ends, by a vector, through a pipe.
    int ends[2];
    CHECK(pipe(ends) == 0);
    for (size_t i = 0; i + 70000 < len; i += len / 50) {
        struct iovec out[2] = {{p + i + 1, 30000}, {p + i + 40001, 20000}};
        CHECK(writev(ends[1], out, 2) == 50000);
        static char into[50000];
        size_t got = 0;
        while (got < sizeof into) {
            ssize_t r = read(ends[0], into + got, sizeof into - got);
            CHECK(r > 0);
            got += r;
        }
        CHECK(!memcmp(into, p + i + 1, 30000) && !memcmp(into + 30000, p + i + 40001, 20000));
    }
    int mem = open("/proc/self/mem", O_RDONLY);
    CHECK(mem >= 0);
    for (size_t i = 0; i < len; i += len / 64) {
        uint64_t w;
        CHECK(pread(mem, &w, 8, (off_t)(p + i)) == 8 && w == word((uint64_t)(p + i), 1));
    }
    close(mem);
    puts("calls");
}

static sigjmp_buf *volatile caught_to;
static void jump(int signo) {
    siglongjmp(*caught_to, signo);
}

// Mappings change over what is swapped out.
static void changed(char *p, size_t len) {
    size_t q = len / 8 / 65536 * 65536;
    CHECK(munmap(p + 0x3000, q - 0x5000) == 0);
    unsigned char vec;
    CHECK(mincore(p + 0x3000, 4096, &vec) == -1 && errno == ENOMEM);
    verify(p, 0x3000, 1, "before the hole");
    verify(p + q - 0x2000, 0x2000, 1, "behind the hole");
    // No longer writable, and again.
    char *r = p + q;
    CHECK(mprotect(r + 0x1000, q - 0x2000, PROT_READ) == 0);
    sigjmp_buf here;
    caught_to = &here;
    signal(SIGSEGV, jump);
    if (sigsetjmp(here, 1) == 0) {
        *(volatile char *)(r + 0x8000) = 1;
        CHECK(!"a write to what is read-only");
    }
    verify(r, q, 1, "read-only");
    CHECK(mprotect(r, q, PROT_NONE) == 0);
    if (sigsetjmp(here, 1) == 0) {
        (void)*(volatile char *)(r + 0x8000);
        CHECK(!"a read of what is not there");
    }
    errno = 0;
    CHECK(write(1, r + 0x9000, 1) == -1 && errno == EFAULT);
    CHECK(mprotect(r, q, PROT_READ | PROT_WRITE) == 0);
    verify(r, q, 1, "readable again");
    signal(SIGSEGV, SIG_DFL);
    // Thrown away, in part.
    char *d = r + q;
    CHECK(madvise(d + 0x1000, q - 0x2000, MADV_DONTNEED) == 0);
    verify(d, 0x1000, 1, "before what was thrown away");
    for (size_t i = 0x1000; i < q - 0x1000; i += 512) CHECK(*(uint64_t *)(d + i) == 0);
    verify(d + q - 0x1000, 0x1000, 1, "behind what was thrown away");
    // Moved, and grown where it stands or elsewhere.
    char *m = d + q;
    char *to = mremap(m, q, q + q / 2 / 4096 * 4096, MREMAP_MAYMOVE);
    CHECK(to != MAP_FAILED);
    verify_as(to, q, (uint64_t)m, 1, "moved");
    for (size_t i = q; i < q + q / 2 / 4096 * 4096; i += 512) CHECK(*(uint64_t *)(to + i) == 0);
    // Replaced.
    char *x = m + q;
    CHECK(mmap(x + 0x2000, q - 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == x + 0x2000);
    verify(x, 0x2000, 1, "before what was replaced");
    for (size_t i = 0x2000; i < q - 0x2000; i += 512) CHECK(*(uint64_t *)(x + i) == 0);
    verify(x + q - 0x2000, 0x2000, 1, "behind what was replaced");
    munmap(to, q + q / 2 / 4096 * 4096);
    puts("changed");
}

// A child of a process whose memory is swapped out moves it: on the host it is in pieces.
static void moved_by_child(char *p, size_t len) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        size_t q = len / 4 / 65536 * 65536;
        for (size_t i = 0; i < q; i += 0x30000) (void)*(volatile char *)(p + i);
        char *to = take(q + PIECE);
        munmap(to, q + PIECE);
        CHECK(mremap(p + 0x1000, q - 0x1000, q, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
        verify_as(to, q - 0x1000, (uint64_t)p + 0x1000, 1, "moved by the child");
        for (size_t i = q - 0x1000; i < q; i += 512) CHECK(*(uint64_t *)(to + i) == 0);
        _exit(0);
    }
    CHECK(reap(pid) == 0);
    verify(p, len, 1, "parent of who moved");
    puts("moved");
}

static char *shared;
static size_t shared_len;

static void *worker(void *number) {
    size_t n = (size_t)number;
    unsigned seed = n;
    for (int i = 0; i < 400; i++) {
        // Each word is one thread's, each page all threads'.
        size_t at = (size_t)rand_r(&seed) % (shared_len / 4096) * 4096;
        for (size_t w = n * 8; w < 4096; w += 32) {
            uint64_t *p = (uint64_t *)(shared + at + w);
            CHECK(*p == word((uint64_t)p, 1) || *p == word((uint64_t)p, 5));
            *p = word((uint64_t)p, 5);
        }
    }
    return 0;
}

static void threads(char *p, size_t len) {
    shared = p;
    shared_len = len;
    pthread_t t[4];
    for (size_t n = 0; n < 4; n++) CHECK(pthread_create(&t[n], 0, worker, (void *)n) == 0);
    // And one that goes through all of it, so that it goes out and comes back.
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < len; i += 4096) (void)*(volatile char *)(p + i);
    for (size_t n = 0; n < 4; n++) CHECK(pthread_join(t[n], 0) == 0);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t *w = (uint64_t *)(p + i);
        CHECK(*w == word((uint64_t)w, 1) || *w == word((uint64_t)w, 5));
    }
    fill(p, len, 1);
    puts("threads");
}

static void locked(char *p, size_t len) {
    size_t n = 8 << 20;
    CHECK(mlock(p, n) == 0);
    for (size_t i = n; i < len; i += 4096) (void)*(volatile char *)(p + i);
    unsigned char vec[n / 4096];
    CHECK(mincore(p, n, vec) == 0);
    for (size_t i = 0; i < n / 4096; i++) CHECK(vec[i] & 1);
    unsigned char all[len / 4096];
    CHECK(mincore(p, len, all) == 0);
    size_t out = 0;
    for (size_t i = 0; i < len / 4096; i++) out += !(all[i] & 1);
    CHECK(out > 0);
    CHECK(munlock(p, n) == 0);
    puts("locked");
}

static void bus(int signo) {
    (void)signo;
    static const char text[] = "SIGBUS\n";
    (void)!write(1, text, sizeof text - 1);
    _exit(0);
}

static void refused(const char *what, int result) {
    printf("%s: %s\n", what, result == 0 ? "0" : strerrorname_np(errno));
}

// What swapon(2) and swapoff(2) say.
static void errors(void) {
    refused("flags", swapon("/dev/ubdb", 1 << 20));
    refused("missing", swapon("/dev/none", 0));
    refused("directory", swapon("/tmp", 0));
    refused("character", swapon("/dev/zero", 0));
    refused("null", swapon(0, 0));
    refused("not on", swapoff("/dev/ubdb"));
    refused("on", swapon("/dev/ubdb", SWAP_FLAG_PREFER | 7));
    refused("twice", swapon("/dev/ubdb", 0));
    int fd = open("/dev/ubdb", O_RDWR | O_EXCL);
    refused("alone", fd);
    refused("mounted", swapon("/dev/ubdc", 0));
    CHECK(setuid(65534) == 0);
    refused("user on", swapon("/dev/ubdb", 0));
    refused("user off", swapoff("/dev/ubdb"));
    refused("user flags", swapon("/dev/ubdb", 1 << 20));
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "errors")) {
        errors();
        return 0;
    }
    CHECK(argc == 3);
    setvbuf(stdout, 0, _IOLBF, 0);
    const char *mode = argv[1];
    size_t len = (size_t)atol(argv[2]) << 20;
    char *p = take_much(len);
    fill(p, len, 1);
    if (!strcmp(mode, "all")) {
        CHECK(swapped() > 0);
        verify(p, len, 1, "at first");
        puts("filled");
        forked(p, len);
        by_calls(p, len);
        threads(p, len);
        locked(p, len);
        moved_by_child(p, len);
        changed(p, len);
    } else if (!strcmp(mode, "hold")) {
        // Until a line comes; then all is looked at.
        printf("holding %s\n", swapped() > 0 ? "swapped" : "all");
        char line[10];
        (void)!read(0, line, sizeof line);
        verify(p, len, 1, "held");
        printf("verified %s\n", swapped() > 0 ? "swapped" : "all");
    } else if (!strcmp(mode, "bus")) {
        signal(SIGBUS, bus);
        CHECK(swapped() > 0);
        puts("holding");
        char line[10];
        (void)!read(0, line, sizeof line);
        errno = 0;
        int ends[2];
        CHECK(pipe(ends) == 0);
        for (size_t i = 0; i < len; i += 65536)
            if (write(ends[1], p + i, 1) == -1) {
                printf("%s\n", strerror(errno));
                break;
            } else {
                (void)!read(ends[0], line, 1);
            }
        for (size_t i = 0; i < len; i += 4096) (void)*(volatile char *)(p + i);
        puts("nothing has failed");
    }
    puts("done");
    return 0;
}
