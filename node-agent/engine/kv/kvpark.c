/* kvpark.c - see kvpark.h. */
#include "engine/kv/kvpark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

struct px_kvpark {
    size_t block_bytes, bytes;
    uint32_t slots;
    unsigned char *memory; /* of all slots; NULL: the file */
    unsigned char *whole;  /* one block on its way to the file or from it */
    int file;              /* -1: none */
};

static px_status open_file(px_kvpark *park, const char *folder)
{
    park->file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (park->file < 0) return px_fail_errno(errno, "parked KV cannot be kept in '%s'", folder);
    int error = posix_fallocate(park->file, 0, (off_t)park->bytes);
    if (error)
        return px_fail_errno(
            error, "%.1f MiB for parked KV in '%s'", (double)park->bytes / (1 << 20), folder);
    park->whole = px_alloc_array(park->block_bytes, 1);
    return px_ok();
}

px_status px_kvpark_create(const px_kvpark_options *options, px_kvpark **out)
{
    px_kvpark *park = px_alloc(sizeof *park);
    *park = (px_kvpark){.block_bytes = options->block_bytes, .slots = options->slots, .file = -1};
    px_status status = px_ok();
    if (__builtin_mul_overflow(options->block_bytes, (size_t)options->slots, &park->bytes)) {
        status = px_fail(PX_RESOURCE_EXHAUSTED, "%u places of %zu bytes for parked KV",
            options->slots, options->block_bytes);
        goto fail;
    }
    void *memory = NULL;
    if (park->bytes && options->folder) PX_TRY_GOTO(open_file(park, options->folder), fail);
    if (park->bytes && !options->folder)
        PX_TRY_GOTO(px_big_alloc(park->bytes, "parked KV", &memory), fail);
    park->memory = memory;
    *out = park;
    return status;
fail:
    px_kvpark_free(park);
    return status;
}

void px_kvpark_free(px_kvpark *park)
{
    if (!park) return;
    px_big_free(park->memory, park->bytes);
    if (park->file >= 0) close(park->file);
    free(park->whole);
    free(park);
}

/* park->whole in one direction; the kernel may take it in pieces. */
static px_status transfer(px_kvpark *park, uint32_t slot, bool writes)
{
    off_t at = (off_t)slot * (off_t)park->block_bytes;
    for (size_t done = 0; done < park->block_bytes;) {
        size_t left = park->block_bytes - done;
        ssize_t got = writes ? pwrite(park->file, park->whole + done, left, at + (off_t)done)
                             : pread(park->file, park->whole + done, left, at + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return px_fail_errno(got ? errno : EIO, "parked KV cannot be %s its file",
                writes ? "written to" : "read from");
        done += (size_t)got;
    }
    return px_ok();
}

/* A slot's bytes; those of a file are there only on their way. */
static unsigned char *slot_bytes(px_kvpark *park, uint32_t slot)
{
    PX_ASSERT(slot < park->slots);
    return park->memory ? park->memory + (size_t)slot * park->block_bytes : park->whole;
}

static px_status park_block(px_kvpark *park, const px_kvpool *pool, const px_kv_move *move)
{
    px_kvpool_save(pool, move->from, slot_bytes(park, move->to));
    return park->memory ? px_ok() : transfer(park, move->to, true);
}

static px_status restore_block(px_kvpark *park, px_kvpool *pool, const px_kv_move *move)
{
    if (!park->memory) PX_TRY(transfer(park, move->from, false));
    px_kvpool_load(pool, move->to, slot_bytes(park, move->from));
    return px_ok();
}

px_status px_kv_move_all(const px_kv_moves *moves, px_kvpool *pool, px_kvpark *park)
{
    for (uint32_t i = 0; i < moves->count; i++) {
        const px_kv_move *move = &moves->at[i];
        switch ((px_kv_move_kind)move->kind) {
        case PX_KV_PARK: PX_TRY(park_block(park, pool, move)); break;
        case PX_KV_RESTORE: PX_TRY(restore_block(park, pool, move)); break;
        default: px_kvpool_copy(pool, (px_kv_copy){.from = move->from, .to = move->to});
        }
    }
    return px_ok();
}
