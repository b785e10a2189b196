/* end_marks.c - see end_marks.h. */
#include "engine/model/end_marks.h"

#include <string.h>

px_end_mark px_end_mark_of(px_slice token)
{
    static const char *const texts[PX_MARK_COUNT] = {[PX_MARK_END] = "<|end|>",
        [PX_MARK_RETURN] = "<|return|>",
        [PX_MARK_CALL] = "<|call|>",
        [PX_MARK_FIRST_OTHER] = "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|observation|>",
        "<｜end▁of▁sentence｜>",
        "<eos>"};
    if (token.length < 5 || token.data[0] != '<') return PX_MARK_NONE;
    for (int m = 0; m < PX_MARK_COUNT; m++)
        if (token.length == strlen(texts[m]) && !memcmp(token.data, texts[m], token.length))
            return (px_end_mark)m;
    return PX_MARK_NONE;
}
