internal import CLinux

package enum Random {
    /// A number that the kernel chose for this process, without a call: `AT_RANDOM` of getauxval(3).
    package static var ofProcess: UInt64 { berth_process_random() }

    /// `count` random bytes as lower-case hexadecimal digits. The corresponding call is `getrandom(2)`.
    package static func hexadecimal(bytes count: Int) throws(SystemError) -> String {
        var bytes = [UInt8](repeating: 0, count: count)
        try checked("getrandom", "") { berth_getrandom(&bytes, count) }
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
