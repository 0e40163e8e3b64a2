internal import CLinux

/// The error numbers of errno(3), for modules that do not import the C library.
package enum Errno {
    package static var EPERM: Int32 { CLinux.EPERM }
    package static var ENOENT: Int32 { CLinux.ENOENT }
    package static var ESRCH: Int32 { CLinux.ESRCH }
    package static var EINTR: Int32 { CLinux.EINTR }
    package static var EIO: Int32 { CLinux.EIO }
    package static var ENXIO: Int32 { CLinux.ENXIO }
    package static var E2BIG: Int32 { CLinux.E2BIG }
    package static var ENOEXEC: Int32 { CLinux.ENOEXEC }
    package static var EBADF: Int32 { CLinux.EBADF }
    package static var EAGAIN: Int32 { CLinux.EAGAIN }
    package static var ENOMEM: Int32 { CLinux.ENOMEM }
    package static var EACCES: Int32 { CLinux.EACCES }
    package static var EBUSY: Int32 { CLinux.EBUSY }
    package static var EEXIST: Int32 { CLinux.EEXIST }
    package static var EXDEV: Int32 { CLinux.EXDEV }
    package static var ENODEV: Int32 { CLinux.ENODEV }
    package static var ENOTDIR: Int32 { CLinux.ENOTDIR }
    package static var EISDIR: Int32 { CLinux.EISDIR }
    package static var EINVAL: Int32 { CLinux.EINVAL }
    package static var ENFILE: Int32 { CLinux.ENFILE }
    package static var EMFILE: Int32 { CLinux.EMFILE }
    package static var ENOTTY: Int32 { CLinux.ENOTTY }
    package static var ETXTBSY: Int32 { CLinux.ETXTBSY }
    package static var EFBIG: Int32 { CLinux.EFBIG }
    package static var ENOSPC: Int32 { CLinux.ENOSPC }
    package static var ESPIPE: Int32 { CLinux.ESPIPE }
    package static var EROFS: Int32 { CLinux.EROFS }
    package static var EMLINK: Int32 { CLinux.EMLINK }
    package static var EPIPE: Int32 { CLinux.EPIPE }
    package static var ERANGE: Int32 { CLinux.ERANGE }
    package static var EDEADLK: Int32 { CLinux.EDEADLK }
    package static var ENAMETOOLONG: Int32 { CLinux.ENAMETOOLONG }
    package static var ENOLCK: Int32 { CLinux.ENOLCK }
    package static var ENOSYS: Int32 { CLinux.ENOSYS }
    package static var ENOTEMPTY: Int32 { CLinux.ENOTEMPTY }
    package static var ELOOP: Int32 { CLinux.ELOOP }
    package static var ENODATA: Int32 { CLinux.ENODATA }
    package static var EOVERFLOW: Int32 { CLinux.EOVERFLOW }
    package static var EUSERS: Int32 { CLinux.EUSERS }
    package static var EOPNOTSUPP: Int32 { CLinux.EOPNOTSUPP }
    package static var ECONNRESET: Int32 { CLinux.ECONNRESET }
    package static var ETIMEDOUT: Int32 { CLinux.ETIMEDOUT }
    package static var ECONNREFUSED: Int32 { CLinux.ECONNREFUSED }
    package static var ESTALE: Int32 { CLinux.ESTALE }
    package static var EDQUOT: Int32 { CLinux.EDQUOT }
    package static var EUCLEAN: Int32 { CLinux.EUCLEAN }
    package static var EPROTO: Int32 { CLinux.EPROTO }
    package static var ETOOMANYREFS: Int32 { CLinux.ETOOMANYREFS }
    package static var EPROTONOSUPPORT: Int32 { CLinux.EPROTONOSUPPORT }
}

extension SystemError {
    /// Whether the path or a directory in it is missing.
    package var isAbsence: Bool { errno == CLinux.ENOENT || errno == CLinux.ENOTDIR }
}
