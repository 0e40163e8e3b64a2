// OpenSSL's SHA-256, of which one function has no header: it takes several streams further at once. It is in the static library
// only, and so the one that this was compiled with: docs/explanation/decisions/pull-pipeline.md
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#if defined(__x86_64__)
#include <cpuid.h>

struct berth_sha256_lane { const unsigned char *bytes; int blocks; };
// The eight words of each state, for up to eight lanes: word 0 of all lanes, word 1 of all lanes, ...
struct berth_sha256_lanes { unsigned int words[8][8]; };
// `groups` of four lanes; one with no blocks is passed over.
void sha256_multi_block(struct berth_sha256_lanes *, const struct berth_sha256_lane *, int groups);

// The extensions that make two lanes as fast as one. CPUID leaf 7, EBX bit 29.
static inline int berth_has_sha_extensions(void) {
    unsigned int a, b = 0, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}
#else
static inline int berth_has_sha_extensions(void) { return 0; }
#endif
