/* zip.h - the directory of a zip archive in memory, whose entries are stored, not compressed.
 *
 * Source:  the zip file format description (PKWARE APPNOTE), with zip64.
 * Owns:    the directory; names and contents are borrowed from the archive's bytes.
 * Threads: immutable after open.
 */
#ifndef PX_MODEL_ZIP_H
#define PX_MODEL_ZIP_H

#include "base/memory.h"

typedef struct px_zip_entry {
    px_slice name, content;
} px_zip_entry;

typedef struct px_zip {
    px_zip_entry *entries; /* sorted by name */
    uint32_t count;
} px_zip;

/* `archive` must stay until close. DATA_LOSS: cut short; UNIMPLEMENTED: compressed or encrypted. */
px_status px_zip_open(px_slice archive, px_zip *out) PX_MUST_USE;
void px_zip_close(px_zip *zip);
/* NULL: none of that name. */
const px_zip_entry *px_zip_find(const px_zip *zip, px_slice name);

#endif
