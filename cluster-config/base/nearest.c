/* nearest.c - see nearest.h. */
#include "base/nearest.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

enum { NAME_MAX_LENGTH = 64 };

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance; three rows of its table are enough. */
static int edit_distance(const char *a, const char *b)
{
    int rows[3][NAME_MAX_LENGTH + 1];
    int a_length = (int)strlen(a), b_length = (int)strlen(b);
    for (int j = 0; j <= b_length; j++) rows[0][j] = j;
    for (int i = 1; i <= a_length; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= b_length; j++) {
            int replace = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min_int(replace, 1 + min_int(above[j], row[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min_int(row[j], above2[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

px_nearest px_nearest_to(const char *typed)
{
    return (px_nearest){.typed = typed, .best_cost = INT_MAX};
}

void px_nearest_offer(px_nearest *nearest, const char *name)
{
    size_t typed_length = strlen(nearest->typed), name_length = strlen(name);
    if (typed_length < 2 || typed_length > NAME_MAX_LENGTH || name_length > NAME_MAX_LENGTH) return;
    size_t shorter = typed_length < name_length ? typed_length : name_length;
    int cost = edit_distance(nearest->typed, name);
    bool starts_alike = shorter >= 3 && strncmp(nearest->typed, name, shorter) == 0;
    int allowed = typed_length < 4 ? 1 : (int)(typed_length / 3 + 1);
    if (cost > allowed && !starts_alike) return;
    if (cost >= nearest->best_cost) return;
    nearest->best = name;
    nearest->best_cost = cost;
}
