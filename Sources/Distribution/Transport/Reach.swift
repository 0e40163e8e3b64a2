internal import NIOCore
internal import Synchronization

/// Which addresses a connection may lead to.
///
/// A name says nothing about where it leads, and may lead elsewhere a second later. So the address of the connection is
/// judged, after it is made and before anything is sent over it.
enum Reach: Hashable, Sendable {
    /// The registry, which the user named: any address.
    case registry
    /// The target of a registry's redirect.
    case redirect(from: Origin)
    /// The token service that a registry names, which is sent credentials.
    case realm(of: Origin)

    /// The origin that chose the host; nil where the user did.
    var chosenBy: Origin? {
        switch self {
        case .registry: nil
        case .redirect(let origin), .realm(let origin): origin
        }
    }

    /// - Parameters:
    ///   - own: This end of the connection.
    ///   - registry: The address of who chose the host; nil where a proxy is in between.
    func allows(_ peer: IPAddress, own: IPAddress?, registry: IPAddress?) -> Bool {
        if self == .registry { return true }
        switch peer.kind {
        // A registry on this host opens nothing by naming another port of it.
        case .loopback: return registry?.kind == .loopback
        case .linkLocal, .unspecified: return peer == registry
        // Private networks are allowed: token services and object stores are often there.
        case .privateUse, .other:
            // A connection from an address to itself stays on this host. A registry of the same network may well have
            // its token service on this node; a public one has not.
            guard case .realm = self, peer == own, let registry else { return true }
            return registry == peer || registry.kind != .other
        }
    }

    /// Why a host at an address was not talked to.
    func refusal(of origin: Origin, at address: String) -> RegistryError.Reason {
        let place = "\(origin) (\(address))"
        if case .realm = self { return .refusedRealm(.localAddress, realm: place) }
        return .refusedRedirect(.localAddress, to: place)
    }
}

/// A connection led to an address that its host may not have.
struct RefusedAddress: Error, Equatable {
    let address: String
}

/// The addresses that origins were reached at, and the judgement of new connections.
final class PeerAddresses: Sendable {
    private let known = Mutex<[Origin: IPAddress]>([:])

    /// Fails, and closes the connection, where `reach` does not allow its address.
    func judge(_ channel: any Channel, _ origin: Origin, _ reach: Reach) -> EventLoopFuture<Void> {
        guard let text = channel.remoteAddress?.ipAddress, let peer = IPAddress(literal: text) else {
            return channel.eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel)
        }
        let own = channel.localAddress?.ipAddress.flatMap { IPAddress(literal: $0) }
        let isAllowed = known.withLock { known in
            guard reach.allows(peer, own: own, registry: reach.chosenBy.flatMap { known[$0] }) else { return false }
            known[origin] = peer
            return true
        }
        if isAllowed { return channel.eventLoop.makeSucceededVoidFuture() }
        // Closed in the loop's next turn: the pool has to hear of the failure first.
        channel.eventLoop.execute { channel.close(promise: nil) }
        return channel.eventLoop.makeFailedFuture(RefusedAddress(address: text))
    }
}
