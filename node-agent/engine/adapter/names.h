/* names.h - what an adapter may be called and where it may lie.
 */
#ifndef PX_ADAPTER_NAMES_H
#define PX_ADAPTER_NAMES_H

enum {
    PX_ADAPTER_NAME_MAX = 64,   /* bytes, the NUL included, as in: */
    PX_ADAPTER_PATH_MAX = 1024, /* of its folder */
    PX_ADAPTERS_MAX = 256       /* at once */
};

#endif
