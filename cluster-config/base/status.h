/* status.h - the one way an operation says how it went.
 *
 * px_status is a value: a code numbered as gRPC's, so that it crosses queues and the wire
 * unchanged, and one sentence that a person can act on. Make it at the origin with px_fail(),
 * pass it up with PX_TRY(). A failed assertion is our bug, never bad input, and stays on in
 * release builds.
 *
 * Threads: pure values, usable anywhere.
 */
#ifndef PX_BASE_STATUS_H
#define PX_BASE_STATUS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum px_code { /* numbers: grpc/status.h */
    PX_OK = 0,
    PX_CANCELLED = 1,
    PX_UNKNOWN = 2,
    PX_INVALID_ARGUMENT = 3,
    PX_DEADLINE_EXCEEDED = 4,
    PX_NOT_FOUND = 5,
    PX_ALREADY_EXISTS = 6,
    PX_PERMISSION_DENIED = 7,
    PX_RESOURCE_EXHAUSTED = 8,
    PX_FAILED_PRECONDITION = 9,
    PX_ABORTED = 10,
    PX_OUT_OF_RANGE = 11,
    PX_UNIMPLEMENTED = 12,
    PX_INTERNAL = 13,
    PX_UNAVAILABLE = 14,
    PX_DATA_LOSS = 15,
    PX_UNAUTHENTICATED = 16,
    PX_CODE_COUNT
} px_code;

typedef struct px_status {
    px_code code;
    uint32_t retry_ms; /* of a refusal: when the same may be tried again; 0: nobody knows */
    char text[248];    /* NUL-terminated, empty when OK */
} px_status;

#define PX_MUST_USE          __attribute__((warn_unused_result))
#define PX_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

static inline px_status px_ok(void)
{
    px_status s;
    s.code = PX_OK;
    s.retry_ms = 0;
    s.text[0] = '\0';
    return s;
}

static inline bool px_is_ok(px_status s)
{
    return s.code == PX_OK;
}

/* A failure with a formatted sentence; too long a sentence is cut at a character boundary. */
px_status px_fail(px_code code, const char *format, ...) PX_PRINTF(2, 3) PX_MUST_USE;

/* A failed system call: the formatted words, then the error's own: "cannot open 'a': Permission
 * denied". The code is NOT_FOUND, PERMISSION_DENIED, ALREADY_EXISTS, RESOURCE_EXHAUSTED or, for
 * any other errno, UNAVAILABLE. */
px_status px_fail_errno(int error, const char *format, ...) PX_PRINTF(2, 3) PX_MUST_USE;

/* `s` with "what: " put before its sentence; OK stays OK. For naming the file, model or peer. */
px_status px_prefix(px_status s, const char *format, ...) PX_PRINTF(2, 3) PX_MUST_USE;

/* A refusal that says when to come back; at least 1 ms. */
static inline px_status px_retry_after(px_status s, uint32_t retry_ms)
{
    s.retry_ms = retry_ms ? retry_ms : 1;
    return s;
}

/* "NOT_FOUND" and the like; never NULL. */
const char *px_code_name(px_code code);

/* Mark a status as knowingly dropped: cleanup paths that have a first error to report. */
static inline void px_ignore(px_status s)
{
    (void)s;
}

#define PX_TRY(expr)                                                                               \
    do {                                                                                           \
        px_status px_try_ = (expr);                                                                \
        if (px_try_.code != PX_OK) return px_try_;                                                 \
    } while (0)

/* Needs a `px_status status` in scope; jumps to `label` on failure. */
#define PX_TRY_GOTO(expr, label)                                                                   \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status.code != PX_OK) goto label;                                                      \
    } while (0)

__attribute__((noreturn)) void px_assert_failed(const char *expr, const char *file, int line);
#define PX_ASSERT(expr) ((expr) ? (void)0 : px_assert_failed(#expr, __FILE__, __LINE__))

#endif
