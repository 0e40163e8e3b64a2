internal import CLinux

/// Sends packets and descriptors between processes of one node over unix(7) sockets, as a pair or by a name in a
/// directory.
///
/// Abstract names are not used, because any local user can bind a predictable name or fill its listener's queue.
package enum LocalSockets {
    /// Listens on a new name in a directory. The corresponding calls are `bind(2)`, `listen(2)`.
    package static func listen(
        in directory: borrowing OwnedFileDescriptor, _ name: String, backlog: Int32 = 4096
    ) throws(SystemError) -> OwnedFileDescriptor {
        let socket = OwnedFileDescriptor(rawValue: try checked("socket", "AF_UNIX") { berth_seqpacket(1) })
        // Through the descriptor, so that the path fits and the directory is the one that was checked.
        let path = directory.procPath + "/" + name
        try path.withCPath { (cPath) throws(SystemError) in
            _ = try checked("bind", path) { berth_bind_path(socket.rawValue, cPath) }
        }
        try checked("listen", path) { CLinux.listen(socket.rawValue, backlog) }
        return socket
    }

    /// Returns `nil` if no process listens, and throws `EAGAIN` if the listener's queue is full. Never blocks. The
    /// corresponding call is `connect(2)`.
    package static func connect(
        in directory: borrowing OwnedFileDescriptor, _ name: String
    ) throws(SystemError) -> OwnedFileDescriptor? {
        let socket = OwnedFileDescriptor(
            rawValue: try checked("socket", "AF_UNIX") { berth_seqpacket(0) })
        let path = directory.procPath + "/" + name
        var code: Int32 = 0
        try path.withCPath { (cPath) throws(SystemError) in
            if berth_connect_path(socket.rawValue, cPath) == -1 { code = berth_errno() }
        }
        switch code {
        case 0: break
        case ECONNREFUSED, ENOENT, EINTR: return nil
        default: throw SystemError(call: "connect", errno: code, subject: path)
        }
        try checked("fcntl", "F_SETFL") { berth_fcntl(socket.rawValue, F_SETFL, 0) }
        return socket
    }

    /// Creates two connected sockets. The corresponding call is `socketpair(2)`.
    package static func pair() throws(SystemError) -> (DescriptorBox, DescriptorBox) {
        var ends: [Int32] = [-1, -1]
        try checked("socketpair", "AF_UNIX") { berth_seqpacket_pair(&ends) }
        return (
            DescriptorBox(OwnedFileDescriptor(rawValue: ends[0])), DescriptorBox(OwnedFileDescriptor(rawValue: ends[1]))
        )
    }

    /// Returns one descriptor that keeps all of these open while it is open: they are queued in a socket that is never
    /// read. A process can thus hold and pass on many leases by one number.
    ///
    /// The kernel counts queued descriptors against the user's limit on open files, and sending fails with
    /// `ETOOMANYREFS` above it. Share one bundle where possible, and use none for a few descriptors.
    package static func bundle(_ boxes: [DescriptorBox]) throws(SystemError) -> DescriptorBox {
        let (kept, sending) = try pair()
        var rest = boxes[...]
        while !rest.isEmpty {
            // Do not block, because a full queue is never read.
            try sending.descriptor.send([0], Array(rest.prefix(BERTH_MAX_DESCRIPTORS)), waits: false)
            rest = rest.dropFirst(BERTH_MAX_DESCRIPTORS)
        }
        return kept
    }
}

/// A packet and the descriptors sent with it.
package struct Packet: Sendable {
    package let bytes: [UInt8]
    package let descriptors: [DescriptorBox]
}

extension OwnedFileDescriptor {
    /// Returns `nil` if no connection arrives in time. The corresponding calls are `poll(2)`, `accept4(2)`.
    package func accept(withinMilliseconds limit: Int) throws(SystemError) -> OwnedFileDescriptor? {
        guard try isReadable(withinMilliseconds: limit) else { return nil }
        return OwnedFileDescriptor(rawValue: try checked("accept4", procPath) { berth_accept(rawValue) })
    }

    /// Whether data is available or the peer has closed the connection. The corresponding call is `poll(2)`.
    package func isReadable(withinMilliseconds limit: Int) throws(SystemError) -> Bool {
        var request = pollfd(fd: rawValue, events: Int16(POLLIN), revents: 0)
        let ready = try checked("poll", procPath) { poll(&request, 1, Int32(clamping: limit)) }
        return ready > 0
    }

    /// Makes later sends of the peer fail. The corresponding call is `shutdown(2)`, `SHUT_RD`.
    package func stopReceiving() { _ = shutdown(rawValue, Int32(SHUT_RD)) }  // the peer may have closed it

    /// The peer's process and user at the time it connected or listened: `SO_PEERCRED`.
    package func peer() throws(SystemError) -> (processID: Int32, userID: UInt32) {
        var process: Int32 = 0
        var user: UInt32 = 0
        try checked("getsockopt", "SO_PEERCRED") { berth_peer(rawValue, &process, &user) }
        return (process, user)
    }

    /// Sends one packet with at most twelve descriptors; throws `E2BIG` for more. The corresponding call is
    /// `sendmsg(2)`, `SCM_RIGHTS`.
    package func send(
        _ bytes: [UInt8], _ descriptors: [DescriptorBox] = [], waits: Bool = true
    ) throws(SystemError) {
        let raw = descriptors.map { $0.descriptor.rawValue }
        guard raw.count <= BERTH_MAX_DESCRIPTORS else {
            throw SystemError(call: "sendmsg", errno: E2BIG, subject: procPath)
        }
        try checked("sendmsg", procPath) {
            berth_send(rawValue, bytes, bytes.count, raw, raw.count, waits ? 1 : 0)
        }
    }

    /// Receives one packet; returns `nil` if the peer has closed the connection. The corresponding call is
    /// `recvmsg(2)`.
    package func receive(limit: Int = 65536) throws(SystemError) -> Packet? {
        var bytes = [UInt8](repeating: 0, count: limit)
        var raw = [Int32](repeating: -1, count: BERTH_MAX_DESCRIPTORS)
        var count = 0
        let size: Int
        do throws(SystemError) {
            size = try checked("recvmsg", procPath) { berth_receive(rawValue, &bytes, limit, &raw, &count) }
        } catch {
            if error.errno == ECONNRESET { return nil }
            throw error
        }
        if size == 0 { return nil }
        bytes.removeLast(limit - size)
        return Packet(
            bytes: bytes, descriptors: raw.prefix(count).map { DescriptorBox(OwnedFileDescriptor(rawValue: $0)) })
    }
}
