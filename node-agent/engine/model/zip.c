/* zip.c - see zip.h.
 *
 *   local header + content, ... | central directory | zip64 end, its locator | end
 *
 * Everything is found from the end: the end says where the directory is, the directory where each
 * local header is, and that where the content begins.
 */
#include "engine/model/zip.h"

#include <stdlib.h>
#include <string.h>

enum {
    END_BYTES = 22,
    COMMENT_BYTES_MAX = 65535,
    LOCATOR_BYTES = 20,
    END64_BYTES = 56,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    ENTRIES_MAX = 1 << 20,
};

static const uint32_t END_MARK = 0x06054b50, LOCATOR_MARK = 0x07064b50, END64_MARK = 0x06064b50,
                      ENTRY_MARK = 0x02014b50, LOCAL_MARK = 0x04034b50;

static uint64_t number(const char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | (uint8_t)at[i];
    return value;
}

static px_status cut_short(void)
{
    return px_fail(PX_DATA_LOSS, "the archive's directory is missing; the file is cut short");
}

/* `length` bytes at `offset`, or NULL where the archive has not that many. */
static const char *bytes_at(px_slice archive, uint64_t offset, uint64_t length)
{
    if (offset > archive.length || length > archive.length - offset) return NULL;
    return archive.data + offset;
}

typedef struct directory {
    uint64_t offset, bytes, count;
} directory;

static px_status find_end64(px_slice archive, size_t end, directory *out)
{
    if (end < LOCATOR_BYTES) return cut_short();
    const char *locator = archive.data + end - LOCATOR_BYTES;
    if (number(locator, 4) != LOCATOR_MARK) return cut_short();
    const char *at = bytes_at(archive, number(locator + 8, 8), END64_BYTES);
    if (!at || number(at, 4) != END64_MARK) return cut_short();
    *out = (directory){
        .count = number(at + 32, 8), .bytes = number(at + 40, 8), .offset = number(at + 48, 8)};
    return px_ok();
}

static px_status find_directory(px_slice archive, directory *out)
{
    if (archive.length < END_BYTES) return cut_short();
    size_t last = archive.length - END_BYTES;
    size_t first = last > COMMENT_BYTES_MAX ? last - COMMENT_BYTES_MAX : 0;
    for (size_t end = last + 1; end-- > first;) {
        const char *at = archive.data + end;
        if (number(at, 4) != END_MARK || number(at + 20, 2) != last - end) continue;
        *out = (directory){
            .count = number(at + 10, 2), .bytes = number(at + 12, 4), .offset = number(at + 16, 4)};
        if (out->count == 0xffff || out->bytes == 0xffffffff || out->offset == 0xffffffff)
            return find_end64(archive, end, out);
        return px_ok();
    }
    return cut_short();
}

/* The sizes and offset that did not fit their fields, from the extra field with id 1. */
static bool read_extra64(px_slice extra, uint64_t *values[3])
{
    static const uint64_t too_large = 0xffffffff;
    for (size_t at = 0; at + 4 <= extra.length;) {
        size_t id = number(extra.data + at, 2), length = number(extra.data + at + 2, 2);
        at += 4;
        if (length > extra.length - at) return false;
        if (id == 1) {
            size_t end = at + length;
            for (int i = 0; i < 3; i++) {
                if (*values[i] != too_large) continue;
                if (end - at < 8) return false;
                *values[i] = number(extra.data + at, 8);
                at += 8;
            }
            return true;
        }
        at += length;
    }
    return *values[0] != too_large && *values[1] != too_large && *values[2] != too_large;
}

static px_status find_content(px_slice archive, uint64_t offset, uint64_t bytes, px_slice *out)
{
    const char *local = bytes_at(archive, offset, LOCAL_BYTES);
    if (!local || number(local, 4) != LOCAL_MARK)
        return px_fail(PX_DATA_LOSS, "an entry of the archive is not where its directory says");
    uint64_t begin = offset + LOCAL_BYTES + number(local + 26, 2) + number(local + 28, 2);
    const char *data = bytes_at(archive, begin, bytes);
    if (!data) return px_fail(PX_DATA_LOSS, "an entry of the archive ends beyond the file");
    *out = (px_slice){.data = data, .length = (size_t)bytes};
    return px_ok();
}

/* Reads the entry at *at and moves on. */
static px_status read_entry(px_slice archive, px_slice *at, px_zip_entry *out)
{
    if (at->length < ENTRY_BYTES || number(at->data, 4) != ENTRY_MARK) return cut_short();
    const char *head = at->data;
    uint64_t flags = number(head + 8, 2), method = number(head + 10, 2);
    uint64_t packed = number(head + 20, 4), bytes = number(head + 24, 4),
             offset = number(head + 42, 4);
    size_t name = number(head + 28, 2), extra = number(head + 30, 2),
           comment = number(head + 32, 2);
    if (at->length - ENTRY_BYTES < name + extra + comment) return cut_short();
    out->name = (px_slice){.data = head + ENTRY_BYTES, .length = name};
    px_slice extras = {.data = head + ENTRY_BYTES + name, .length = extra};
    at->data += ENTRY_BYTES + name + extra + comment;
    at->length -= ENTRY_BYTES + name + extra + comment;
    if (!read_extra64(extras, (uint64_t *[3]){&bytes, &packed, &offset})) return cut_short();
    int shown = name < 80 ? (int)name : 80;
    if (method != 0 || packed != bytes || flags & 1)
        return px_fail(PX_UNIMPLEMENTED, "entry '%.*s' of the archive is compressed or encrypted",
            shown, out->name.data);
    return px_prefix(
        find_content(archive, offset, bytes, &out->content), "'%.*s'", shown, out->name.data);
}

static int compare_slices(px_slice a, px_slice b)
{
    size_t common = a.length < b.length ? a.length : b.length;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

static int compare_entries(const void *a, const void *b)
{
    return compare_slices(((const px_zip_entry *)a)->name, ((const px_zip_entry *)b)->name);
}

px_status px_zip_open(px_slice archive, px_zip *out)
{
    directory where = {.count = 0};
    *out = (px_zip){.entries = NULL};
    PX_TRY(find_directory(archive, &where));
    px_slice at = {.data = bytes_at(archive, where.offset, where.bytes)};
    if (!at.data || where.count > where.bytes / ENTRY_BYTES) return cut_short();
    if (where.count > ENTRIES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the archive has more than %d entries", ENTRIES_MAX);
    at.length = (size_t)where.bytes;
    out->entries = px_alloc_array((size_t)where.count + 1, sizeof *out->entries);
    while (out->count < where.count) {
        px_status status = read_entry(archive, &at, &out->entries[out->count]);
        if (!px_is_ok(status)) {
            px_zip_close(out);
            return status;
        }
        out->count++;
    }
    qsort(out->entries, out->count, sizeof *out->entries, compare_entries);
    return px_ok();
}

void px_zip_close(px_zip *zip)
{
    free(zip->entries);
    *zip = (px_zip){.entries = NULL};
}

const px_zip_entry *px_zip_find(const px_zip *zip, px_slice name)
{
    px_zip_entry key = {.name = name};
    if (!zip->count) return NULL;
    return bsearch(&key, zip->entries, zip->count, sizeof key, compare_entries);
}
