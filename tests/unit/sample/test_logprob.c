/* Log probabilities against the definition, in double precision. */
#include "engine/sample/logprob.h"

#include <math.h>

#include "test.h"

enum { VOCABULARY = 1000 };

static void fill(float *logits)
{
    uint64_t random = 99;
    for (int i = 0; i < VOCABULARY; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        logits[i] = (float)(random >> 40) / (1 << 22) - 2;
    }
    logits[10] = logits[20] = 9; /* the best, twice */
    logits[30] = -INFINITY;
}

PX_TEST(probabilities_of_a_row)
{
    float logits[VOCABULARY];
    fill(logits);
    double sum = 0;
    for (int i = 0; i < VOCABULARY; i++) sum += exp(logits[i]);
    for (uint32_t token = 0; token < VOCABULARY; token += 10) {
        px_logprobs found;
        px_logprobs_of(&(px_logprob_row){logits, VOCABULARY, token, 5}, &found);
        uint32_t rank = 1;
        for (uint32_t i = 0; i < VOCABULARY; i++)
            rank += logits[i] > logits[token] || (logits[i] == logits[token] && i < token);
        PX_CHECK(found.rank == rank && found.picked.token == token && found.top_count == 5);
        double wanted = logits[token] - log(sum);
        PX_CHECK(token == 30 ? found.picked.logprob == -INFINITY
                             : fabs(found.picked.logprob - wanted) < 1e-5);
        PX_CHECK(found.top[0].token == 10 && found.top[1].token == 20);
        for (int k = 1; k < 5; k++) PX_CHECK(found.top[k].logprob <= found.top[k - 1].logprob);
    }
}

PX_TEST(no_more_are_told_than_there_are)
{
    float logits[] = {1, -INFINITY, 2};
    px_logprobs found;
    px_logprobs_of(&(px_logprob_row){logits, 3, 0, 99}, &found);
    PX_CHECK(found.top_count == 2 && found.top[0].token == 2 && found.top[1].token == 0);
    px_logprobs_of(&(px_logprob_row){logits, 3, 2, 0}, &found);
    PX_CHECK(found.top_count == 0 && found.rank == 1);
}

PX_TEST_MAIN()
