/* test_price.c - what a step costs, what a guess is worth, and how many rows that makes. */
#include "test.h"

#include <math.h>

#include "engine/speculate/price.h"
#include "engine/speculate/trust.h"

static px_price learnt(double fixed_ns, double row_ns)
{
    px_price price = {0};
    for (uint32_t rows = 1; rows <= PX_PRICE_ROWS_MAX; rows++)
        px_price_observe(&price, rows, (int64_t)(fixed_ns + row_ns * rows));
    return price;
}

static uint32_t rows_for(const px_price *price, uint32_t seqs, double right, px_bid *bids)
{
    for (uint32_t i = 0; i < seqs; i++) {
        bids[i] = (px_bid){.count = 15};
        for (uint32_t j = 0; j < 15; j++) bids[i].right[j] = (float)right;
    }
    px_price_auction(price, &(px_auction){.bids = bids,
                                .count = seqs,
                                .rows = seqs,
                                .rows_max = PX_PRICE_ROWS_MAX,
                                .ns_max = (double)INFINITY});
    uint32_t rows = 0;
    for (uint32_t i = 0; i < seqs; i++) rows += bids[i].rows;
    return rows;
}

PX_TEST(rows_are_bought_for_what_they_are_worth)
{
    px_bid bids[32];
    px_price dear = learnt(1e6, 1e6), cheap = learnt(1e7, 1e5), unknown = {0};
    PX_CHECK(rows_for(&unknown, 1, 1, bids) == 0); /* the first step is a plain one */
    PX_CHECK(rows_for(&cheap, 1, 1, bids) == 15 && rows_for(&dear, 1, 1, bids) == 15);
    PX_CHECK(rows_for(&cheap, 1, 0.5, bids) > 1 && rows_for(&cheap, 1, 0.5, bids) < 15);
    PX_CHECK(rows_for(&dear, 1, 0.4, bids) == 0 && rows_for(&cheap, 1, 0, bids) == 0);
    /* All of a batch gain alike. */
    PX_CHECK(rows_for(&cheap, 4, 0.9, bids) >= 16);
    for (int i = 1; i < 4; i++) PX_CHECK(bids[i].rows + 1 >= bids[0].rows);
    PX_CHECK(rows_for(&dear, 30, 0.4, bids) == 0);
}

PX_TEST(nobody_pays_for_the_guesses_of_another)
{
    px_price price = learnt(1e6, 1e6);
    px_bid bids[8] = {{0}};
    bids[3] = (px_bid){.count = 8};
    for (int j = 0; j < 8; j++) bids[3].right[j] = 0.95f;
    px_auction auction = {
        .bids = bids, .count = 8, .rows = 8, .rows_max = 64, .ns_max = (double)INFINITY};
    px_price_auction(&price, &auction);
    /* A row makes the step of eight longer by a ninth: all together lose more than one gains. */
    PX_CHECK(bids[3].rows == 0);
    auction.count = auction.rows = 1;
    auction.bids = &bids[3];
    px_price_auction(&price, &auction);
    PX_CHECK(bids[3].rows > 4);
    auction.ns_max = 5.5e6; /* a bound on the step: the plain row and three more */
    px_price_auction(&price, &auction);
    PX_CHECK(bids[3].rows == 3);
    auction.ns_max = (double)INFINITY;
    auction.ns_a_depth = 4e6; /* a draft as dear as its target */
    px_price_auction(&price, &auction);
    PX_CHECK(bids[3].rows == 0);
}

PX_TEST(what_was_dear_once_is_tried_again)
{
    px_price price = learnt(1e6, 1e5);
    px_bid bid[1];
    uint32_t most = rows_for(&price, 1, 1, bid), steps = 0;
    PX_CHECK(most == 15);
    for (int i = 0; i < 20; i++) px_price_observe(&price, 16, (int64_t)1e8); /* held up */
    PX_CHECK(rows_for(&price, 1, 1, bid) < 15);
    for (; rows_for(&price, 1, 1, bid) < 15 && steps < 50000; steps++) {
        uint32_t rows = 1 + bid[0].rows;
        px_price_observe(&price, rows, (int64_t)(1e6 + 1e5 * rows));
    }
    PX_CHECK(steps < 50000);
    for (int i = 0; i < 100; i++) px_price_observe(&price, 1, 1100000);
    PX_CHECK(fabs(px_price_ns(&price, 1) - 1.1e6) < 1e4);
}

PX_TEST(a_record_is_its_own_beside_everybodys)
{
    px_trust all = {.unknown = {0.3f, 0.3f}}, own = {0}, other = {0};
    PX_CHECK(fabs(px_trust_of(&own, &all, 0) - 0.3) < 1e-6);
    for (int i = 0; i < 100; i++) {
        px_trust_note(&own, 0, true, 24);
        px_trust_note(&all, 0, i % 2 == 0, 512);
    }
    PX_CHECK(px_trust_of(&own, &all, 0) > 0.85 && px_trust_of(&own, &all, 0) <= 1);
    PX_CHECK(fabs(px_trust_of(&other, &all, 0) - 0.5) < 0.05);
    PX_CHECK(fabs(px_trust_of(&own, &all, 1) - 0.3) < 1e-6); /* another kind */
    for (int i = 0; i < 12; i++) px_trust_note(&own, 0, false, 24);
    PX_CHECK(px_trust_of(&own, &all, 0) < 0.65); /* the newest count most */
    for (int i = 0; i < 5000; i++) px_trust_fade(&own, 256);
    PX_CHECK(fabs(px_trust_of(&own, &all, 0) - px_trust_of(&other, &all, 0)) < 1e-3);
}

PX_TEST(kinds_follow_the_length_of_what_agrees)
{
    for (uint32_t length = 2; length < 40; length++)
        PX_CHECK(px_trust_kind_of_length(length) <= px_trust_kind_of_length(length + 1));
    PX_CHECK(px_trust_kind_of_length(2) == 0 && px_trust_kind_of_length(32) == PX_TRUST_KINDS - 1);
    PX_CHECK(px_trust_kind_of_depth(3) == 3 && px_trust_kind_of_depth(90) == PX_TRUST_KINDS - 1);
}

PX_TEST_MAIN()
