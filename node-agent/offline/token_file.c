/* token_file.c - see token_file.h. */
#include "offline/token_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"

enum { BYTES_MAX = 64 << 20 };

static const char spaces[] = " \t\r\n";

/* The word that begins at `at`, shortened and without what would upset a terminal. */
static px_status refuse(const char *path, const char *at)
{
    char word[24];
    size_t length = strcspn(at, spaces);
    if (length > sizeof word - 1) length = sizeof word - 1;
    for (size_t i = 0; i < length; i++) word[i] = at[i] > ' ' && at[i] < 0x7f ? at[i] : '?';
    word[length] = '\0';
    return px_fail(PX_INVALID_ARGUMENT, "%s: '%s' is not a token id", path, word);
}

static px_status parse(const char *path, const px_buf *text, uint32_t *ids, size_t *out_count)
{
    *out_count = 0;
    for (const char *at = px_buf_text(text);;) {
        at += strspn(at, spaces);
        if (!*at) break;
        char *end;
        unsigned long id = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || id > UINT32_MAX || (*end && !strchr(spaces, *end)))
            return refuse(path, at);
        ids[(*out_count)++] = (uint32_t)id;
        at = end;
    }
    if (!*out_count) return px_fail(PX_INVALID_ARGUMENT, "%s: holds no token ids", path);
    return px_ok();
}

px_status px_token_file_read(const char *path, uint32_t **out_ids, size_t *out_count)
{
    px_buf text;
    px_buf_init(&text, BYTES_MAX);
    px_status status = px_fs_read(path, &text);
    uint32_t *ids = NULL;
    if (px_is_ok(status)) {
        ids = px_alloc_array(text.length / 2 + 1, sizeof *ids); /* a digit and a space each */
        status = parse(path, &text, ids, out_count);
    }
    px_buf_done(&text);
    if (!px_is_ok(status))
        free(ids);
    else
        *out_ids = ids;
    return status;
}
