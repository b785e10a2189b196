/* jinja_json.h - JSON into template values; the way back is the tojson filter.
 */
#ifndef PX_TEXT_JINJA_JSON_H
#define PX_TEXT_JINJA_JSON_H

#include <jansson.h>

#include "engine/text/jinja_eval.h"

/* Texts are borrowed from `json`; NULL is None. */
bool px_jinja_from_json(px_jinja *j, const json_t *json, px_jv *out);

#endif
