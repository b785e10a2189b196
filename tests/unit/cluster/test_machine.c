/* What an agent says about its machine: plausible numbers, quickly, and the models it has. */
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "cluster/host.h"
#include "cluster/measure.h"
#include "cluster/store.h"
#include "test.h"

PX_TEST(measurement_is_short_and_plausible)
{
    px_measure measure;
    int64_t begin_ns = px_now_ns();
    PX_CHECK_OK(px_measure_run(2, &measure));
    int64_t took_ns = px_now_ns() - begin_ns;
    PX_CHECK(took_ns < 5 * PX_SEC); /* 0.15 s on a quiet machine; this one may be busy */
    PX_CHECK(measure.read_bytes_s > UINT64_C(50000000) &&
             measure.read_bytes_s < UINT64_C(100000000000000));
    PX_CHECK(measure.flops > UINT64_C(50000000) && measure.flops < UINT64_C(1000000000000000));
}

PX_TEST(the_host_is_described)
{
    px_host host, again;
    PX_CHECK_OK(px_host_look(&host));
    PX_CHECK_OK(px_host_look(&again));
    PX_CHECK(host.cores >= 1 && host.name[0]);
    PX_CHECK(host.memory_bytes > (UINT64_C(64) << 20));
    PX_CHECK(px_host_memory_free() > 0 && px_host_memory_free() <= host.memory_bytes);
    PX_CHECK_STR(host.machine, again.machine);
    PX_CHECK(strchr(host.machine, '/') != NULL);
}

PX_TEST(the_address_is_the_one_the_server_sees)
{
    char address[64];
    PX_CHECK_OK(px_host_address("127.0.0.1:8081", NULL, address));
    PX_CHECK_STR(address, "127.0.0.1");
    PX_CHECK_OK(px_host_address("127.0.0.1:8081", "127.0.0.3", address));
    PX_CHECK_STR(address, "127.0.0.3");
    static const char *const bad[] = {
        "nonsense", "", ":8081", "host:", "host:port", "host:0", "host:99999", "host:80x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        px_status status = px_host_check_server(bad[i]);
        PX_CHECK(status.code == PX_INVALID_ARGUMENT && strstr(status.text, "HOST:PORT"));
    }
    PX_CHECK_OK(px_host_check_server("[::1]:8081"));
    PX_CHECK_OK(px_host_check_server("control.example:8081"));
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    return remove(path);
}

static void remove_tree(const char *path)
{
    PX_CHECK(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static char root[] = "/tmp/px-store-XXXXXX";

static void put(const char *path, size_t bytes)
{
    char full[512], folder[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    snprintf(folder, sizeof folder, "%s", full);
    *strrchr(folder, '/') = '\0';
    PX_CHECK_OK(px_fs_make_dirs(folder, 0700));
    int fd = open(full, O_WRONLY | O_CREAT, 0600);
    PX_CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    close(fd);
}

PX_TEST(the_store_lists_what_could_be_loaded)
{
    PX_REQUIRE(mkdtemp(root));
    put("single.gguf", 10);
    put("folder/model.safetensors", 20);
    put("folder/config.json", 5);
    put("versions/2/a.gguf", 30);
    put("versions/10/a.gguf", 40); /* the highest, as a number */
    put("versions/010/a.gguf", 50);
    put("nothing/readme.md", 10);
    put(".hidden/a.gguf", 10);
    put("readme.md", 10);
    px_store store;
    PX_CHECK_OK(px_store_scan(root, &store));
    PX_REQUIRE(store.count == 3);
    PX_CHECK_STR(store.models[0].name, "folder");
    PX_CHECK(store.models[0].bytes == 20);
    PX_CHECK_STR(store.models[1].name, "single");
    PX_CHECK_STR(store.models[2].name, "versions");
    PX_CHECK(store.models[2].bytes == 40 && strstr(store.models[2].path, "/versions/10"));
    PX_CHECK(store.models[2].path[0] == '/');
    px_store_done(&store);
    remove_tree(root);
    PX_CHECK(px_store_scan(root, &store).code == PX_NOT_FOUND);
}

PX_TEST_MAIN()
