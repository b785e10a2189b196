/* Fresh memory filled by several threads: all of it there, nothing outside touched. */
#include "engine/model/first_touch.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "test.h"

enum { MIB = 1 << 20, RESERVED = 16 * MIB, BYTES = 9 * MIB + 12345, THREADS = 4, PIECE = 300000 };
enum { SMALL_PAGE = 4096 };

/* Memory that begins and ends inside a huge page, with nothing before and behind its pages. */
typedef struct fixture {
    unsigned char *reserved, *memory;
    px_first_touch touch;
    atomic_uint next; /* piece that nobody has taken */
} fixture;

static void set_up(fixture *f)
{
    f->reserved = mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    PX_ASSERT(f->reserved != MAP_FAILED);
    unsigned char *pages = f->reserved + MIB + 5 * SMALL_PAGE;
    PX_ASSERT(!mprotect(pages, BYTES + SMALL_PAGE, PROT_READ | PROT_WRITE));
    f->memory = pages + 64;
    atomic_init(&f->next, 0);
    px_first_touch_init(&f->touch, f->memory, BYTES);
}

static void tear_down(fixture *f)
{
    px_first_touch_done(&f->touch);
    munmap(f->reserved, RESERVED);
}

static void *fill(void *arg)
{
    fixture *f = arg;
    for (uint32_t begin; (begin = atomic_fetch_add(&f->next, 1) * PIECE) < BYTES;) {
        uint32_t count = BYTES - begin < PIECE ? BYTES - begin : PIECE;
        px_first_touch_range(&f->touch, f->memory + begin, count);
        for (uint32_t i = begin; i < begin + count; i++) f->memory[i] += (unsigned char)(i % 251);
    }
    return NULL;
}

PX_TEST(what_several_threads_fill_is_all_there)
{
    for (int round = 0; round < 20; round++) {
        fixture f;
        pthread_t threads[THREADS];
        set_up(&f);
        for (int i = 0; i < THREADS; i++) PX_ASSERT(!pthread_create(&threads[i], NULL, fill, &f));
        for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
        uint32_t wrong = 0;
        for (uint32_t i = 0; i < BYTES; i++) wrong += f.memory[i] != i % 251;
        PX_CHECK(!wrong);
        tear_down(&f);
    }
}

PX_TEST(what_was_written_stays_when_its_page_is_asked_for_again)
{
    fixture f;
    set_up(&f);
    px_first_touch_range(&f.touch, f.memory, 1);
    f.memory[0] = 7;
    unsigned char *page = (unsigned char *)(((uintptr_t)f.memory / (2 * MIB) + 1) * (2 * MIB));
    *page = 9; /* without having asked */
    px_first_touch_range(&f.touch, f.memory, BYTES);
    PX_CHECK(f.memory[0] == 7);
    PX_CHECK(*page == 9);
    px_first_touch_range(&f.touch, f.memory + BYTES - 1, 1);
    tear_down(&f);
}

PX_TEST_MAIN()
