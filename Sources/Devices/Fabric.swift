internal import LinuxKernel

/// The network between nodes: its type, the site's additions for it, and the recommended variables of its vendor.
package enum Fabric: String, CaseIterable, Sendable, Equatable {
    /// Detect the fabric from the driver.
    case auto
    case none
    /// InfiniBand or RoCE (verbs over Ethernet).
    case ib
    /// Amazon's Elastic Fabric Adapter.
    case efa

    /// The fabric of this host, from the driver of the first verbs device that this process may use.
    package static func present(_ nodes: [DeviceNode], host: HostTree = HostTree()) -> Fabric {
        let verbs = nodes.filter { $0.kind == .verbs }
        guard !verbs.isEmpty else { return .none }
        for node in verbs {
            let name = node.path.split(separator: "/").last.map(String.init) ?? ""
            if host.link("/sys/class/infiniband_verbs/\(name)/device/driver")?.hasSuffix("/efa") == true { return .efa }
        }
        return .ib
    }

    package struct Variable: Equatable, Sendable {
        package let entry: String
        /// One sentence for the documentation.
        package let why: String
    }

    /// The vendors' recommendations for libfabric 1.18, aws-ofi-nccl 1.7, NCCL 2.19 and later. They are defaults: the
    /// host's environment, the image and the command line override them.
    package var variables: [Variable] {
        switch self {
        case .auto, .none: []
        case .ib:
            [
                Variable(
                    entry: "NCCL_SOCKET_IFNAME=^docker,lo,veth",
                    why: "NCCL's first contact goes over an interface that other nodes can reach")
            ]
        case .efa:
            [
                Variable(
                    entry: "FI_EFA_USE_HUGE_PAGE=0",
                    why: "buffers in huge pages make fork(2) fail with ENOMEM: data loaders of PyTorch fork"),
                Variable(
                    entry: "FI_PROVIDER=efa",
                    why: "libfabric fails where EFA is not usable, instead of going on over TCP"),
                Variable(
                    entry: "NCCL_SOCKET_IFNAME=^docker,lo,veth",
                    why: "NCCL's first contact goes over an interface that other nodes can reach"),
            ]
        }
    }

    /// Files that accompany the devices on some hosts, mounted at the same path if present: the topology, which is not
    /// visible inside a cloud's virtual machine, and the site's NCCL settings.
    package static let companions = ["/var/run/nvidia-topologyd/virtualTopology.xml", "/etc/nccl.conf"]

    package static func companionEdits(host: HostTree = HostTree()) -> [DeviceEdit] {
        companions.filter(host.exists).map { path in
            DeviceEdit(
                .bind(source: host.path(path), path: path, recursive: false, attributes: .readOnly),
                .host("read by NCCL"))
        }
    }
}

/// A site's addition for one fabric: `fabric-… = FABRIC …` in berth.conf.
package struct FabricRule: Equatable, Sendable {
    package enum Action: Equatable, Sendable {
        /// A host directory or file and its container path.
        case mount(source: String, path: String)
        /// A shared library, mounted at the same path and added to the loader's cache.
        case library(String)
        /// `NAME=VALUE`, which overrides the fabric's default.
        case variable(String)
    }

    package let fabric: Fabric
    package let action: Action
    /// The file and line of the setting.
    package let place: String

    package init(fabric: Fabric, action: Action, place: String) {
        self.fabric = fabric
        self.action = action
        self.place = place
    }
}

extension Fabric {
    /// All edits for the fabric except device nodes.
    package func edits(_ rules: [FabricRule], host: HostTree = HostTree()) -> [DeviceEdit] {
        guard self != .none else { return [] }
        var edits: [DeviceEdit] = []
        var libraries: [LoaderCache.Library] = []
        var links: [DeviceEdit] = []
        var origin: DeviceEdit.Origin?
        var names: [String] = []
        for rule in rules where rule.fabric == self {
            let place = DeviceEdit.Origin.site(rule.place)
            switch rule.action {
            case .mount(let source, let path):
                edits.append(
                    DeviceEdit(
                        .bind(
                            source: host.path(source), path: path, recursive: true,
                            attributes: [.readOnly, .noSetUserID, .noDevices]), place))
            case .library(let path):
                // Mount the file that a link points to, because the link's other names are not mounted with it.
                let file = host.resolved(path)
                let directory = String(file[..<(file.utf8.lastIndex(of: UInt8(ascii: "/")) ?? file.startIndex)])
                edits.append(
                    DeviceEdit(
                        .bind(
                            source: host.path(file), path: file, recursive: false,
                            attributes: [.readOnly, .noSetUserID, .noDevices]), place))
                let name = String(file.dropFirst(directory.utf8.count + 1))
                let soname = ELFFile(path: host.path(file))?.soname ?? name
                let asked = path.split(separator: "/").last.map(String.init) ?? name
                for link in [soname, asked]
                where link != name && !links.contains(where: { $0.path == directory + "/" + link }) {
                    links.append(DeviceEdit(.symlink(path: directory + "/" + link, target: name), place))
                }
                libraries.append(LoaderCache.Library(soname: soname, path: directory + "/" + soname))
                // Programs open plugins by this name rather than the soname, so the loader needs both.
                if asked != soname {
                    libraries.append(LoaderCache.Library(soname: asked, path: directory + "/" + asked))
                }
                origin = origin ?? place
            case .variable(let entry):
                names.append(String(entry.prefix { $0 != "=" }))
                edits.append(DeviceEdit(.variable(entry, isDefault: true), place))
            }
        }
        edits += links
        if let origin { edits.append(DeviceEdit(.loader(LoaderUpdate(libraries: libraries)), origin)) }
        for variable in variables where !names.contains(String(variable.entry.prefix { $0 != "=" })) {
            edits.append(DeviceEdit(.variable(variable.entry, isDefault: true), .host("--fabric \(rawValue)")))
        }
        return edits
    }
}
