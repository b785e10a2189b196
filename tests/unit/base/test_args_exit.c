/* test_args_exit.c - a command that fails without misuse exits 1, whatever its code. In a program
 * of its own, because misuse is remembered for the life of the process. */
#include "base/args.h"
#include "test.h"

PX_TEST(bad_input_is_not_bad_usage)
{
    PX_CHECK(px_command_fail(px_fail(PX_INVALID_ARGUMENT, "the file is broken")) == 1);
    PX_CHECK(px_command_fail(px_fail(PX_NOT_FOUND, "no such model")) == 1);
    PX_CHECK(px_command_fail(px_args_fail("--a and --b exclude each other")) == 2);
    PX_CHECK(px_command_fail(px_fail(PX_UNAVAILABLE, "no answer")) == 1);
}

PX_TEST_MAIN()
