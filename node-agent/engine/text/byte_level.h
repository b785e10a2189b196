/* byte_level.h - GPT-2's bijection between the 256 bytes and 256 printable characters.
 *
 * Byte-level vocabularies are written with it ("Ġthe" is " the").
 * Source: bytes_to_unicode() of the GPT-2 release.
 * Threads: pure functions.
 */
#ifndef PX_TEXT_BYTE_LEVEL_H
#define PX_TEXT_BYTE_LEVEL_H

#include <stdint.h>

#include "base/memory.h"

/* The character that stands for a byte: itself if printable in Latin-1, else U+0100 and up. */
uint32_t px_byte_level_rune(unsigned char byte);
/* Appends the written form of bytes. */
void px_byte_level_write(const char *bytes, size_t length, px_buf *out);
/* Appends the bytes of a written form. false, and nothing appended, if a character stands for
 * none. `text` is valid UTF-8. */
bool px_byte_level_read(const char *text, size_t length, px_buf *out);

#endif
