/* host.c - see host.h. */
#include "cluster/host.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

/* First line of a small file, without its end; false if there is none. */
static bool first_line(const char *path, char *out, size_t capacity)
{
    FILE *file = fopen(path, "re");
    bool good = file && fgets(out, (int)capacity, file);
    if (file) fclose(file);
    if (good) out[strcspn(out, "\n")] = '\0';
    return good;
}

/* The value behind `key` in lines of "key: value" or "key value", in the file's unit; 0: absent. */
static uint64_t number_in(const char *path, const char *key)
{
    char line[256];
    uint64_t value = 0;
    size_t length = strlen(key);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0 && (line[length] == ':' || line[length] == ' '))
            value = strtoull(line + length + 1, NULL, 10);
    if (file) fclose(file);
    return value;
}

static uint32_t count_cores(void)
{
    cpu_set_t set;
    long cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                             : sysconf(_SC_NPROCESSORS_ONLN);
    char quota[64];
    unsigned long long allowed, period;
    if (first_line("/sys/fs/cgroup/cpu.max", quota, sizeof quota) &&
        sscanf(quota, "%llu %llu", &allowed, &period) == 2 && period > 0) {
        long limit = (long)((allowed + period - 1) / period);
        if (limit >= 1 && limit < cores) cores = limit;
    }
    return cores < 1 ? 1 : (uint32_t)cores;
}

static uint64_t memory_limit(void)
{
    char text[64];
    uint64_t limit = 0;
    if (first_line("/sys/fs/cgroup/memory.max", text, sizeof text))
        limit = strtoull(text, NULL, 10);
    return limit ? limit : UINT64_MAX; /* "max" reads as 0 */
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t px_host_memory_free(void)
{
    char text[64];
    uint64_t available = number_in("/proc/meminfo", "MemAvailable") * 1024, limit = memory_limit();
    if (limit == UINT64_MAX || !first_line("/sys/fs/cgroup/memory.current", text, sizeof text))
        return available;
    uint64_t used = strtoull(text, NULL, 10);
    return smaller(available, limit > used ? limit - used : 0);
}

uint64_t px_host_oom_kills(void)
{
    return number_in("/proc/vmstat", "oom_kill");
}

/* NVIDIA's driver lists a folder for each GPU, with "Model: NAME" in its information file. */
static void list_gpus(px_host *host)
{
    static const char root[] = "/proc/driver/nvidia/gpus";
    DIR *folder = opendir(root);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)) && host->gpu_count < PX_HOST_GPUS_MAX) {
        char path[512], line[256];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s/information", root, entry->d_name);
        char *name = host->gpus[host->gpu_count++];
        snprintf(name, sizeof host->gpus[0], "NVIDIA GPU");
        if (!first_line(path, line, sizeof line) || strncmp(line, "Model:", 6) != 0) continue;
        const char *model = line + 6 + strspn(line + 6, " \t");
        snprintf(name, sizeof host->gpus[0], "%.*s", (int)sizeof host->gpus[0] - 1, model);
    }
    if (folder) closedir(folder);
}

px_status px_host_look(px_host *out)
{
    px_host host = {.cores = count_cores()};
    char boot[64];
    struct stat network;
    if (gethostname(host.name, sizeof host.name - 1) != 0 || !host.name[0])
        snprintf(host.name, sizeof host.name, "localhost");
    if (!first_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot))
        return px_fail(PX_UNAVAILABLE, "the kernel's boot id cannot be read; is /proc mounted?");
    if (stat("/proc/self/ns/net", &network) != 0)
        return px_fail_errno(errno, "the network namespace cannot be read");
    snprintf(
        host.machine, sizeof host.machine, "%s/%llu", boot, (unsigned long long)network.st_ino);
    host.memory_bytes = smaller(number_in("/proc/meminfo", "MemTotal") * 1024, memory_limit());
    list_gpus(&host);
    *out = host;
    return px_ok();
}

/* ----------------------------------------------------------------------------- address */

static px_status resolve(const char *host, const char *port, struct addrinfo **out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    int error = getaddrinfo(host, port, &hints, out);
    if (error)
        return px_fail(PX_UNAVAILABLE, "'%s' cannot be resolved: %s", host, gai_strerror(error));
    return px_ok();
}

static px_status numeric(const struct sockaddr *address, socklen_t bytes, char out[64])
{
    if (getnameinfo(address, bytes, out, 64, NULL, 0, NI_NUMERICHOST) != 0)
        return px_fail(PX_INTERNAL, "an address cannot be printed");
    return px_ok();
}

/* Connecting a datagram socket sends nothing: it asks the kernel which way packets would go. */
static px_status local_towards(const struct addrinfo *server, char out[64])
{
    struct sockaddr_storage local;
    socklen_t bytes = sizeof local;
    int fd = socket(server->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && connect(fd, server->ai_addr, server->ai_addrlen) == 0 &&
                getsockname(fd, (struct sockaddr *)&local, &bytes) == 0;
    int error = errno;
    if (fd >= 0) close(fd);
    if (!good) return px_fail_errno(error, "no way leads to the control plane");
    return numeric((const struct sockaddr *)&local, bytes, out);
}

/* "host:port" or "[host]:port" taken apart; *out_port points into `server`. */
static px_status split_server(const char *server, char host[256], const char **out_port)
{
    const char *colon = strrchr(server, ':');
    size_t length = colon ? (size_t)(colon - server) : 0;
    bool bracketed = length > 2 && server[0] == '[' && server[length - 1] == ']';
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (bracketed) server++, length -= 2;
    if (length < 1 || length >= 256 || port < 1 || port > 65535 || *end)
        return px_fail(PX_INVALID_ARGUMENT, "'%.80s' is not HOST:PORT", server - bracketed);
    memcpy(host, server, length);
    host[length] = '\0';
    *out_port = colon + 1;
    return px_ok();
}

px_status px_host_check_server(const char *server)
{
    char host[256];
    const char *port;
    return split_server(server, host, &port);
}

px_status px_host_address(const char *server, const char *address, char out[64])
{
    struct addrinfo *found;
    char host[256];
    const char *port;
    PX_TRY(split_server(server, host, &port));
    PX_TRY(address ? resolve(address, NULL, &found) : resolve(host, port, &found));
    px_status status =
        address ? numeric(found->ai_addr, found->ai_addrlen, out) : local_towards(found, out);
    freeaddrinfo(found);
    return status;
}
