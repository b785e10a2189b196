/* end_marks.h - tokens that end an answer or a turn, known by their texts.
 *
 * GGUF files of chat models often name one of them as EOS and leave the others to be found, and
 * some call them plain text. Source: llama.cpp's list, without what ends no answer of the models we
 * know. Pure functions.
 */
#ifndef PX_MODEL_END_MARKS_H
#define PX_MODEL_END_MARKS_H

#include "base/memory.h"

typedef enum px_end_mark {
    PX_MARK_END, /* "<|end|>"; gpt-oss ends each part of an answer with it, and the answer with */
    PX_MARK_RETURN, /* "<|return|>" or */
    PX_MARK_CALL,   /* "<|call|>" */
    PX_MARK_FIRST_OTHER,
    PX_MARK_COUNT = PX_MARK_FIRST_OTHER + 9,
    PX_MARK_NONE = PX_MARK_COUNT,
} px_end_mark;

px_end_mark px_end_mark_of(px_slice token);

#endif
