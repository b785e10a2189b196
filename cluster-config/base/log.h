/* log.h - structured log lines on stderr: event name first, then typed key=value pairs.
 *
 *   px_log(PX_INFO, "group.ready", PX_S("model", name), PX_U("generation", generation));
 *
 * Text for a terminal, one JSON object a line otherwise (or as px_log_init says). Only boundaries
 * (programs, services) log; libraries return statuses. Never per token; never prompt text, keys
 * or tokens of authentication.
 * Threads: any; a line is written with one write().
 */
#ifndef PX_BASE_LOG_H
#define PX_BASE_LOG_H

#include <stdint.h>

#include "base/status.h"

typedef enum px_log_level { PX_DEBUG, PX_INFO, PX_WARN, PX_ERROR, PX_LOG_LEVEL_COUNT } px_log_level;
typedef enum px_log_format { PX_LOG_AUTO, PX_LOG_TEXT, PX_LOG_JSON } px_log_format;

typedef enum px_log_kind {
    PX_LOG_END,
    PX_LOG_STR,
    PX_LOG_INT,
    PX_LOG_UINT,
    PX_LOG_REAL
} px_log_kind;
typedef struct px_log_field {
    const char *key;
    px_log_kind kind;
    union {
        const char *text; /* NULL prints as empty */
        int64_t integer;
        uint64_t natural;
        double real;
    } value;
} px_log_field;

#define PX_S(k, v) ((px_log_field){.key = (k), .kind = PX_LOG_STR, .value.text = (v)})
#define PX_I(k, v) ((px_log_field){.key = (k), .kind = PX_LOG_INT, .value.integer = (int64_t)(v)})
#define PX_U(k, v) ((px_log_field){.key = (k), .kind = PX_LOG_UINT, .value.natural = (uint64_t)(v)})
#define PX_F(k, v) ((px_log_field){.key = (k), .kind = PX_LOG_REAL, .value.real = (double)(v)})

/* Lines below `level` are dropped. `program` names the writer in each line. Call once at start. */
void px_log_init(const char *program, px_log_level level, px_log_format format);

void px_log_fields(px_log_level level, const char *event, const px_log_field *fields);
#define px_log(level, event, ...)                                                                  \
    px_log_fields(                                                                                 \
        (level), (event), (const px_log_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = PX_LOG_END}})

#endif
