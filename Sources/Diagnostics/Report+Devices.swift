package import Devices

extension Report {
    package init(_ error: DeviceError) {
        switch error {
        case .unknownKind(let kind, let refused):
            self.init(
                "no CDI specification of this host has devices of the kind \(kind)", details: Self.lines(refused),
                hint:
                    "`berth cdi` lists the devices; Berth reads specifications from /etc/cdi and /var/run/cdi, or from "
                    + "cdi-directory")
        case .unknownDevice(let name, let known, let refused):
            self.init(
                "there is no CDI device \(name) on this host",
                details: ["known of its kind: " + known.joined(separator: ", ")] + Self.lines(refused),
                hint: "`berth cdi` lists all of them")
        case .conflict(let name, let paths):
            self.init(
                "several specifications define the CDI device \(name): \(paths.joined(separator: ", "))",
                hint: "remove it from all but one; /var/run/cdi overrides /etc/cdi")
        case .notGranted(let name, let node, let granted):
            self.init(
                "the device \(name) needs \(node), which was not granted here",
                details: ["granted: " + (granted.isEmpty ? "no GPU" : granted.map(\.path).joined(separator: ", "))],
                hint: "request GPUs from the scheduler (--gres=gpu:N); without --device, the container gets the "
                    + "granted GPUs")
        case .wrongNode(let name, let path):
            self.init(
                "\(path) is not the device that the CDI specification of \(name) describes",
                hint: "the specification is out of date: create it again, for NVIDIA with "
                    + "`nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml`")
        case .hookRefused(let hook, let path, let place):
            self.init(
                "a CDI specification requests the hook \(path) (\(hook)), which this site does not allow",
                details: [place],
                hint: "an administrator can allow it with `cdi-hook = \(path)` in "
                    + "/etc/berth/berth.conf"
            )
        case .hookStage(let hook, let path, let place):
            self.init(
                "a CDI specification requests the hook \(path) after the start of the command (\(hook))",
                details: [place],
                hint: "Berth becomes the command, so it cannot run hooks then: use a specification without this hook")
        case .badHook(let hook, let place):
            self.init(
                "the hook \(hook) of a CDI specification has arguments that Berth does not support", details: [place],
                hint: "report it with the lines of the specification")
        case .mountOption(let option, let place):
            self.init(
                "a CDI specification uses the mount option \"\(option)\", which Berth does not "
                    + "support", details: [place],
                hint: "report it; until then, use a specification without it")
        case .netDevice(let interface, let name, let place):
            self.init(
                "a CDI specification renames the network interface \(interface) to \(name)",
                details: [place], hint: "containers use the host's network, where interfaces keep their names")
        case .noSuchGPU(let name, let granted):
            self.init(
                "no granted GPU matches \"\(name)\"",
                details: ["granted: " + (granted.isEmpty ? "no GPU" : granted.map(\.path).joined(separator: ", "))],
                hint:
                    "use indices, UUIDs (nvidia-smi -L) or PCI addresses of granted GPUs, or MIG slices of a CDI "
                    + "specification"
            )
        case .noFabric(let name):
            self.init(
                name == "efa"
                    ? "--fabric efa, but no EFA device can be opened here"
                    : "--fabric \(name), but no verbs device (/dev/infiniband/uverbs*) can be opened here",
                hint: "--fabric auto uses the fabric that is available, if any")
        }
    }

    private static func lines(_ refused: [DeviceRegistry.Refused]) -> [String] {
        refused.map { "rejected: \($0.path)\($0.line > 0 ? ":\($0.line)" : ""): \($0.reason)" }
    }
}
