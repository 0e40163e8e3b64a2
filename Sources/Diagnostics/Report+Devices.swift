package import Devices

extension Report {
    package init(_ error: DeviceError) {
        switch error {
        case .unknownKind(let kind, let refused):
            self.init(
                "no CDI specification of this host has devices of the kind \(kind)", details: Self.lines(refused),
                hint:
                    "`berth cdi` lists what there is; specifications are looked for in /etc/cdi and /var/run/cdi, or where "
                    + "cdi-directory says")
        case .unknownDevice(let name, let known, let refused):
            self.init(
                "there is no CDI device \(name) on this host",
                details: ["known of its kind: " + known.joined(separator: ", ")] + Self.lines(refused),
                hint: "`berth cdi` lists all of them")
        case .conflict(let name, let paths):
            self.init(
                "the CDI device \(name) stands in several specifications: \(paths.joined(separator: ", "))",
                hint: "remove it from all but one; a file in /var/run/cdi wins over one in /etc/cdi")
        case .notGranted(let name, let node, let granted):
            self.init(
                "the device \(name) needs \(node), which was not granted here",
                details: ["granted: " + (granted.isEmpty ? "no GPU" : granted.map(\.path).joined(separator: ", "))],
                hint: "ask the scheduler for GPUs (--gres=gpu:N); without --device the granted ones are shown")
        case .wrongNode(let name, let path):
            self.init(
                "\(path) is not the device that the CDI specification of \(name) says",
                hint: "the specification is out of date: make it again, for NVIDIA with "
                    + "`nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml`")
        case .hookRefused(let hook, let path, let place):
            self.init(
                "a CDI specification wants to run \(path) as a hook (\(hook)), which this site has not allowed",
                details: [place], hint: "the site allows it with the line `cdi-hook = \(path)` in /etc/berth/berth.conf"
            )
        case .hookStage(let hook, let path, let place):
            self.init(
                "a CDI specification wants to run \(path) after the command has started (\(hook))",
                details: [place],
                hint: "Berth becomes the command, and nobody is left to run it: use a specification without this hook")
        case .badHook(let hook, let place):
            self.init(
                "the hook \(hook) of a CDI specification has arguments that Berth does not know", details: [place],
                hint: "report it, with the lines of the specification")
        case .mountOption(let option, let place):
            self.init(
                "a CDI specification mounts with the option \"\(option)\", which Berth does not know", details: [place],
                hint: "report it; until then use a specification without it")
        case .netDevice(let interface, let name, let place):
            self.init(
                "a CDI specification wants the network interface \(interface) to be called \(name) inside",
                details: [place], hint: "containers have the host's network, where interfaces keep their names")
        case .noSuchGPU(let name, let granted):
            self.init(
                "no GPU granted here is \"\(name)\"",
                details: ["granted: " + (granted.isEmpty ? "no GPU" : granted.map(\.path).joined(separator: ", "))],
                hint:
                    "name positions, UUIDs (nvidia-smi -L) or PCI addresses of granted GPUs, or MIG slices that a CDI specification has"
            )
        case .noFabric(let name):
            self.init(
                name == "efa"
                    ? "--fabric efa, but no EFA device can be opened here"
                    : "--fabric \(name), but no verbs device (/dev/infiniband/uverbs*) can be opened here",
                hint: "--fabric auto takes what there is, nothing included")
        }
    }

    private static func lines(_ refused: [DeviceRegistry.Refused]) -> [String] {
        refused.map { "not read: \($0.path)\($0.line > 0 ? ":\($0.line)" : ""): \($0.reason)" }
    }
}
