#include "engine/model/gguf_split.h"

#include <stdio.h>
#include <string.h>

static const char part_form[] = "-00000-of-00000.gguf";
enum { PART_TAIL_BYTES = sizeof part_form - 1 };

static bool is_part(const char *path)
{
    size_t length = strlen(path);
    if (length < PART_TAIL_BYTES) return false;
    const char *tail = path + length - PART_TAIL_BYTES;
    for (size_t i = 0; i < PART_TAIL_BYTES; i++) {
        bool digit = tail[i] >= '0' && tail[i] <= '9';
        if (part_form[i] == '0' ? !digit : tail[i] != part_form[i]) return false;
    }
    return true;
}

bool px_gguf_part_path(const char *path, px_gguf_part part, char *out, size_t capacity)
{
    size_t length = strlen(path);
    if (!is_part(path) || length >= capacity) return false;
    size_t stem = length - PART_TAIL_BYTES;
    memcpy(out, path, stem);
    snprintf(out + stem, PART_TAIL_BYTES + 1, "-%05u-of-%05u.gguf", part.number % 100000,
        part.count % 100000);
    return true;
}

bool px_gguf_same_split(const char *path, const char *other)
{
    if (!is_part(path) || !is_part(other) || strlen(path) != strlen(other)) return false;
    size_t index = strlen(path) - PART_TAIL_BYTES + 1, count = index + strlen("00000");
    return memcmp(path, other, index) == 0 && strcmp(path + count, other + count) == 0;
}
