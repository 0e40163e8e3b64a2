// ISA-L's inflate and deflate, the fastest there is for gzip on x86-64 and aarch64.
#include <isa-l/igzip_lib.h>

// Macros over macros and a field of a struct too large for Swift to see into.
static const uint32_t berth_isal_level1_buffer_size = ISAL_DEF_LVL1_DEFAULT;
static inline int berth_isal_has_ended(const struct isal_zstream *stream) {
    return stream->internal_state.state == ZSTATE_END;
}
