# Writes a C file with the bytes of INPUT as NAME[] and NAME_bytes:
#   cmake -DINPUT=set.bin -DOUTPUT=set.c -DNAME=name -P embed.cmake
file(READ ${INPUT} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR bytes "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," literals "${hex}")
file(WRITE ${OUTPUT} "/* Generated from ${INPUT}. */
const unsigned char ${NAME}[] = {${literals}};
const unsigned long ${NAME}_bytes = ${bytes};
")
