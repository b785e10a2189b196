/* table.c - aligned tables for people; see term.h. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/term.h"

enum { COLUMN_GAP = 2 };

struct px_table {
    char **cells; /* [(1 + rows) * columns], the headers first, each owned */
    int columns, rows, rows_capacity;
    bool *right_aligned; /* [columns] */
};

/* A cell is one line: what would break the alignment becomes a space. */
static char *copy_cell(const char *text)
{
    char *copy = px_strdup(text ? text : "");
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = ' ';
    return copy;
}

px_table *px_table_create(const char *const *headers, int columns)
{
    PX_ASSERT(columns > 0);
    px_table *table = px_alloc(sizeof *table);
    table->columns = columns;
    table->rows_capacity = 16;
    table->cells =
        px_alloc_array((size_t)(1 + table->rows_capacity) * (size_t)columns, sizeof(char *));
    table->right_aligned = px_alloc_array((size_t)columns, sizeof(bool));
    for (int i = 0; i < columns; i++) {
        table->right_aligned[i] = headers[i][0] == '>';
        table->cells[i] = copy_cell(headers[i] + table->right_aligned[i]);
    }
    return table;
}

void px_table_row(px_table *table, const char *const *cells)
{
    size_t columns = (size_t)table->columns;
    if (table->rows == table->rows_capacity) {
        table->rows_capacity *= 2;
        char **grown = px_alloc_array((size_t)(1 + table->rows_capacity) * columns, sizeof(char *));
        memcpy(grown, table->cells, (size_t)(1 + table->rows) * columns * sizeof(char *));
        free(table->cells);
        table->cells = grown;
    }
    table->rows++;
    for (size_t i = 0; i < columns; i++)
        table->cells[(size_t)table->rows * columns + i] = copy_cell(cells[i]);
}

static int cell_columns(const char *cell)
{
    return (int)px_utf8_columns(cell, strlen(cell));
}

static int widest_in_column(const px_table *table, int column)
{
    int widest = 0;
    for (int row = 0; row <= table->rows; row++) {
        int columns = cell_columns(table->cells[row * table->columns + column]);
        if (columns > widest) widest = columns;
    }
    return widest;
}

void px_table_print(const px_table *table, FILE *to)
{
    int *widths = px_alloc_array((size_t)table->columns, sizeof *widths);
    for (int i = 0; i < table->columns; i++) widths[i] = widest_in_column(table, i);
    for (int row = 0; row <= table->rows; row++) {
        for (int i = 0; i < table->columns; i++) {
            const char *cell = table->cells[row * table->columns + i];
            int padding = widths[i] - cell_columns(cell);
            bool last = i + 1 == table->columns;
            if (table->right_aligned[i])
                fprintf(to, "%*s%s", padding, "", cell);
            else
                fprintf(to, "%s%*s", cell, last ? 0 : padding, ""); /* no trailing spaces */
            if (!last) fprintf(to, "%*s", COLUMN_GAP, "");
        }
        fputc('\n', to);
    }
    free(widths);
}

void px_table_free(px_table *table)
{
    if (!table) return;
    for (int i = 0; i < (1 + table->rows) * table->columns; i++) free(table->cells[i]);
    free(table->cells);
    free(table->right_aligned);
    free(table);
}
