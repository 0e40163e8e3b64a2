/// Types of file systems by `f_type` of statfs(2).
package enum FileSystemType {
    /// The name of a file system whose calls wait for a server or another process; `nil` for other file systems.
    package static func remote(_ type: UInt64) -> String? {
        switch type {
        case 0x6969: "NFS"
        case 0x0BD0_0BD0: "Lustre"
        case 0x4750_4653: "GPFS"
        case 0x1983_0326: "BeeGFS"
        case 0x00C3_6400: "Ceph"
        case 0xFF53_4D42, 0xFE53_4D42: "CIFS"
        case 0x6573_5546: "FUSE"
        default: nil
        }
    }
}
