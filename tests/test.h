/* test.h - the whole test harness: checks that survive release builds, and an honest exit code.
 *
 *   PX_TEST(ring_refuses_when_full) { PX_CHECK(!px_ring_push(&ring, &x)); }
 *   PX_TEST_MAIN()
 */
#ifndef PX_TEST_H
#define PX_TEST_H

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct px_test_case {
    const char *name;
    void (*run)(void);
    struct px_test_case *next;
} px_test_case;

static px_test_case *px_test_first, **px_test_last = &px_test_first;
static atomic_int px_test_failures, px_test_checks; /* a check may stand in any thread */

#define PX_TEST(id)                                                                                \
    static void id(void);                                                                          \
    __attribute__((constructor)) static void px_register_##id(void)                                \
    {                                                                                              \
        static px_test_case test = {.name = #id, .run = id};                                       \
        *px_test_last = &test;                                                                     \
        px_test_last = &test.next;                                                                 \
    }                                                                                              \
    static void id(void)

#define PX_CHECK(cond)                                                                             \
    do {                                                                                           \
        px_test_checks++;                                                                          \
        if (!(cond)) {                                                                             \
            px_test_failures++;                                                                    \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                              \
        }                                                                                          \
    } while (0)
/* Stops this test case: for what the rest of it depends on. */
#define PX_REQUIRE(cond)                                                                           \
    do {                                                                                           \
        px_test_checks++;                                                                          \
        if (!(cond)) {                                                                             \
            px_test_failures++;                                                                    \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                              \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define PX_CHECK_STR(got, want)                                                                    \
    do {                                                                                           \
        const char *got_ = (got), *want_ = (want);                                                 \
        px_test_checks++;                                                                          \
        if (strcmp(got_, want_) != 0) {                                                            \
            px_test_failures++;                                                                    \
            printf("%s:%d: got \"%s\", want \"%s\"\n", __FILE__, __LINE__, got_, want_);           \
        }                                                                                          \
    } while (0)
/* A sanitizer is at work: it has an allocator of its own, keeps what is freed, and is slow. gcc
 * says so with macros, clang with features. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PX_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PX_TEST_SANITIZED 1
#endif
#endif
#ifndef PX_TEST_SANITIZED
#define PX_TEST_SANITIZED 0
#endif

/* For px_status: OK, or prints its sentence. */
#define PX_CHECK_OK(expr)                                                                          \
    do {                                                                                           \
        px_status status_ = (expr);                                                                \
        px_test_checks++;                                                                          \
        if (status_.code != PX_OK) {                                                               \
            px_test_failures++;                                                                    \
            printf("%s:%d: %s\n", __FILE__, __LINE__, status_.text);                               \
        }                                                                                          \
    } while (0)

/* One name on the command line runs that case alone. */
#define PX_TEST_MAIN()                                                                             \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        int ran = 0;                                                                               \
        setvbuf(stdout, NULL, _IOLBF, 0);                                                          \
        for (px_test_case *test = px_test_first; test; test = test->next) {                        \
            if (argc > 1 && strcmp(argv[1], test->name) != 0) continue;                            \
            int before = px_test_failures;                                                         \
            test->run();                                                                           \
            printf("%s %s\n", px_test_failures == before ? "ok  " : "FAIL", test->name);           \
            ran++;                                                                                 \
        }                                                                                          \
        printf("%d cases, %d checks, %d failed\n", ran, px_test_checks, px_test_failures);         \
        return px_test_failures || !ran || !px_test_checks ? 1 : 0;                                \
    }

#endif
