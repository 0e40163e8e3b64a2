// libmd's SHA-256: small enough for the launcher, which hashes nothing but the scripts that a record names.
#include <sha256.h>
