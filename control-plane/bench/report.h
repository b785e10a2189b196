/* report.h - what a benchmark found, as a table for people or a JSON object for programs. */
#ifndef PX_CONTROL_REPORT_H
#define PX_CONTROL_REPORT_H

#include "control/bench/bench.h"

typedef struct px_report {
    const char *server;
    const px_bench_options *options;
    const px_prompts *prompts;
    const px_bench_result *result;
} px_report;

void px_report_print(const px_report *report);
void px_report_print_json(const px_report *report); /* one line */

#endif
