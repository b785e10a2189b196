/* byte_level.c - see byte_level.h. */
#include "engine/text/byte_level.h"

#include "engine/text/unicode.h"

static bool is_printable(unsigned char byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

/* The unprintable bytes, in order, are U+0100, U+0101, ...: 0-20, 7f-a0, ad. */
uint32_t px_byte_level_rune(unsigned char byte)
{
    if (is_printable(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xa0) return 0x100u + 0x21 + (byte - 0x7fu);
    return 0x100 + 0x21 + 0x22;
}

/* The byte that a character stands for, or -1. */
static int byte_of(uint32_t rune)
{
    if (rune < 0x100) return is_printable((unsigned char)rune) ? (int)rune : -1;
    uint32_t index = rune - 0x100;
    if (index <= 0x20) return (int)index;
    if (index < 0x21 + 0x22) return (int)(index - 0x21 + 0x7f);
    return index == 0x21 + 0x22 ? 0xad : -1;
}

void px_byte_level_write(const char *bytes, size_t length, px_buf *out)
{
    for (size_t i = 0; i < length; i++)
        px_rune_append(out, px_byte_level_rune((unsigned char)bytes[i]));
}

bool px_byte_level_read(const char *text, size_t length, px_buf *out)
{
    size_t before = out->length;
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        at += px_rune_decode(text + at, &rune);
        int byte = byte_of(rune);
        if (byte < 0) {
            out->length = before;
            return false;
        }
        px_buf_putc(out, (char)byte);
    }
    return true;
}
