/* test_fs.c - bounds, atomic replacement, maps, and a sentence for each failure. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "test.h"

static char folder[] = "/tmp/px_fs_XXXXXX";

static const char *in_folder(const char *name)
{
    static char paths[4][256], *made = NULL;
    static int next;
    if (!made) made = mkdtemp(folder);
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int entry_count(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    while (dir && readdir(dir)) count++;
    if (dir) closedir(dir);
    return count - 2;
}

PX_TEST(what_is_written_is_read_and_nothing_else_is_left)
{
    const char *path = in_folder("a");
    PX_CHECK_OK(px_fs_write_atomic(path, "one", 3, 0600));
    PX_CHECK_OK(px_fs_write_atomic(path, "two!", 4, 0640));
    px_buf buf;
    px_buf_init(&buf, 100);
    px_buf_puts(&buf, "> ");
    PX_CHECK_OK(px_fs_read(path, &buf));
    PX_CHECK_STR(px_buf_text(&buf), "> two!");
    struct stat info;
    PX_CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0640);
    PX_CHECK(entry_count(folder) == 1);
    px_buf_done(&buf);
}

PX_TEST(a_file_over_the_bound_leaves_the_buffer_alone)
{
    px_buf buf;
    px_buf_init(&buf, 5);
    px_buf_puts(&buf, "xy");
    PX_CHECK(px_fs_read(in_folder("a"), &buf).code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK_STR(px_buf_text(&buf), "xy");
    px_buf_puts(&buf, "z"); /* still usable */
    PX_CHECK_STR(px_buf_text(&buf), "xyz");
    px_buf_done(&buf);
}

PX_TEST(failures_name_the_path)
{
    px_buf buf;
    px_buf_init(&buf, 10);
    px_status s = px_fs_read(in_folder("missing"), &buf);
    PX_CHECK(
        s.code == PX_NOT_FOUND && strstr(s.text, "/missing'") && strstr(s.text, "No such file"));
    s = px_fs_read(folder, &buf);
    PX_CHECK(s.code != PX_OK && strstr(s.text, folder));
    s = px_fs_write_atomic(in_folder("no/such/folder"), "", 0, 0600);
    PX_CHECK(s.code == PX_NOT_FOUND);
    s = px_fs_write_atomic(folder, "x", 1, 0600); /* a folder cannot be replaced by a file */
    PX_CHECK(s.code != PX_OK);
    PX_CHECK(entry_count(folder) == 1);
    px_buf_done(&buf);
}

PX_TEST(folders_are_made_on_the_way)
{
    PX_CHECK_OK(px_fs_make_dirs(in_folder("x/y//z/"), 0755));
    PX_CHECK_OK(px_fs_make_dirs(in_folder("x/y/z"), 0755)); /* again: fine */
    PX_CHECK(px_fs_is_dir(in_folder("x/y/z")) && !px_fs_is_file(in_folder("x/y/z")));
    PX_CHECK(px_fs_is_file(in_folder("a")) && !px_fs_is_dir(in_folder("a")));
    PX_CHECK(px_fs_make_dirs(in_folder("a"), 0755).code == PX_ALREADY_EXISTS);
    PX_CHECK(px_fs_make_dirs(in_folder("a/b"), 0755).code != PX_OK);
    PX_CHECK(px_fs_make_dirs("", 0755).code == PX_INVALID_ARGUMENT);
}

PX_TEST(maps_show_the_file)
{
    px_map map = {0};
    PX_CHECK_OK(px_map_open(in_folder("a"), &map));
    PX_CHECK(map.bytes == 4 && memcmp(map.data, "two!", 4) == 0);
    px_map_close(&map);
    PX_CHECK(map.data == NULL && map.bytes == 0);
    PX_CHECK_OK(px_fs_write_atomic(in_folder("empty"), "", 0, 0600));
    PX_CHECK_OK(px_map_open(in_folder("empty"), &map));
    PX_CHECK(map.data == NULL && map.bytes == 0);
    px_map_close(&map);
    PX_CHECK(px_map_open(folder, &map).code == PX_INVALID_ARGUMENT);
    PX_CHECK(mkfifo(in_folder("fifo"), 0600) == 0);
    PX_CHECK(px_map_open(in_folder("fifo"), &map).code == PX_INVALID_ARGUMENT); /* and no waiting */
    PX_CHECK(px_map_open(in_folder("missing"), &map).code == PX_NOT_FOUND);
}

PX_TEST(clean_up)
{
    static const char *const names[] = {"a", "empty", "fifo", "x/y/z", "x/y", "x", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        PX_CHECK(remove(in_folder(names[i])) == 0);
}

PX_TEST_MAIN()
