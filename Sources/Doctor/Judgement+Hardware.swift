internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel

extension Diagnosis {
    static func gpus(_ facts: NodeFacts) -> [Finding] {
        let area = "GPUs"
        let nvidia = facts.nvidia
        guard let driver = nvidia.driver else {
            if !nvidia.nodes.isEmpty {
                return [
                    Finding(
                        area, "driver", .error,
                        "there are nodes (\(nvidia.nodes[0])…), but NVIDIA's driver is not loaded",
                        remedy: "modprobe nvidia; if it fails, see dmesg")
                ] + specifications(facts)
            }
            return
                (facts.amd.hasKFD
                ? amd(facts.amd)
                : [Finding(area, "driver", .ok, "no GPU driver is loaded, and there are no nodes")])
                + specifications(facts)
        }
        var findings = [Finding(area, "driver", .ok, "NVIDIA \(driver), \(nvidia.gpus) GPUs")]
        if nvidia.nodes.count < nvidia.gpus || !nvidia.hasControl || !nvidia.hasUVM {
            let missing =
                (nvidia.hasControl ? [] : ["/dev/nvidiactl"]) + (nvidia.hasUVM ? [] : ["/dev/nvidia-uvm"])
                + (nvidia.nodes.count < nvidia.gpus ? ["\(nvidia.gpus - nvidia.nodes.count) of /dev/nvidiaN"] : [])
            findings.append(
                Finding(
                    area, "nodes", .error, "missing: \(missing.joined(separator: ", ")); CUDA will not start",
                    remedy: "nvidia-modprobe -u -c=0 at boot, or the nvidia-persistenced service"))
        } else {
            findings.append(
                Finding(
                    area, "nodes", .ok,
                    "\(nvidia.nodes.count - nvidia.refused.count) of \(nvidia.nodes.count) can be opened here"))
        }
        if let library = nvidia.library {
            findings.append(Finding(area, "libraries", .ok, library))
        } else if facts.cdi.specifications.contains(where: { $0.isOfNVIDIA && $0.namesDriver }) {
            findings.append(
                Finding(
                    area, "libraries", .ok,
                    "from the CDI specification; the host's loader cache has "
                        + "none"))
        } else {
            findings.append(
                Finding(
                    area, "libraries", .error,
                    "libcuda.so.1 is not in the host's loader cache: containers would get no driver",
                    remedy:
                        "install the driver's user-space part of version \(driver) (libcuda1, "
                        + "nvidia-driver-cuda-libs), "
                        + "and run ldconfig"))
        }
        findings += specifications(facts)
        if nvidia.hasIMEX { findings.append(imex(nvidia)) }
        if !facts.fabrics.isEmpty, !nvidia.hasPeerMemory {
            findings.append(
                Finding(
                    area, "GPUDirect", .ok,
                    "nvidia_peermem is not loaded; with the open driver, Linux 5.12 and NCCL 2.13 DMA-BUF does the same"
                ))
        }
        return findings
    }

    private static func imex(_ nvidia: NodeFacts.NVIDIA) -> Finding {
        if nvidia.openChannels > 0 {
            return Finding(
                "GPUs", "IMEX", .ok, "\(nvidia.openChannels) of \(nvidia.channels) channels can be opened here")
        }
        return Finding(
            "GPUs", "IMEX", .warning,
            nvidia.channels > 0
                ? "none of the \(nvidia.channels) channels can be opened here: no NVLink between nodes"
                : "the driver has IMEX, but there is no channel: no NVLink between nodes",
            remedy: "SwitchType=switch/nvidia_imex in slurm.conf, or a prolog that creates "
                + "/dev/nvidia-caps-imex-channels/channel0; nvidia-imex.service must run")
    }

    private static func amd(_ amd: NodeFacts.AMD) -> [Finding] {
        let area = "GPUs"
        var findings: [Finding] = []
        if amd.gpus == 0, amd.isWhole {
            findings.append(
                Finding(
                    area, "driver", .warning, "AMD's driver is loaded (/dev/kfd), but lists no GPU",
                    remedy: "dmesg | grep -i kfd shows why; `rocminfo` shows the GPUs that ROCm finds"))
        } else {
            findings.append(
                Finding(
                    area, "driver", .ok,
                    "AMD's driver is loaded (/dev/kfd), \(amd.gpus) GPUs"
                        + (amd.isWhole ? "" : "; a device cgroup hides others")))
        }
        if amd.refusedByMode.isEmpty {
            let own = amd.granted.count { $0.kind == .gpu }
            findings.append(Finding(area, "nodes", .ok, "\(own) of \(amd.gpus) can be opened here"))
        } else {
            findings.append(
                Finding(
                    area, "nodes", .warning,
                    "\(amd.refusedByMode.map(\.path).joined(separator: ", ")) cannot be opened by this user: mode or "
                        + "owner denies it",
                    remedy: "set mode 0666 by a udev rule, or add the user to the groups render and video"))
        }
        return findings
    }

    /// The results for the CDI specifications, and whether they match the driver.
    private static func specifications(_ facts: NodeFacts) -> [Finding] {
        let area = "GPUs"
        let cdi = facts.cdi
        var findings: [Finding] = []
        for file in cdi.refused {
            findings.append(
                Finding(
                    area, "CDI", .warning,
                    "\(file.path)\(file.line > 0 ? ":\(file.line)" : "") is rejected: \(file.reason)",
                    remedy: "fix or remove the file; its devices are unknown. `berth cdi` lists the known ones"))
        }
        if !cdi.conflicts.isEmpty {
            findings.append(
                Finding(
                    area, "CDI", .warning, "two files of one directory define \(cdi.conflicts.joined(separator: ", "))",
                    remedy: "remove one of them"))
        }
        guard let driver = facts.nvidia.driver else { return findings }
        let specifications = cdi.specifications.filter(\.isOfNVIDIA)
        let refresh =
            "nvidia-ctk cdi generate --output=\(specifications.first?.path ?? "/etc/cdi/nvidia.yaml")"
            + ", or enable nvidia-cdi-refresh.service"
        if specifications.isEmpty {
            findings.append(Finding(area, "CDI", .ok, "no specification: Berth finds the driver's files without one"))
        } else if let stale = specifications.first(where: { !$0.namesDriver }) {
            findings.append(
                Finding(
                    area, "CDI", .error, "\(stale.path) is for another driver than the loaded one (\(driver))",
                    remedy: refresh))
        } else if !cdi.unknownNodes.isEmpty {
            findings.append(
                Finding(
                    area, "CDI", .warning,
                    "no specification has \(cdi.unknownNodes.map(\.path).joined(separator: ", ")): Berth finds the "
                        + "driver's files itself",
                    remedy: refresh))
        } else {
            findings.append(Finding(area, "CDI", .ok, specifications.map(\.path).joined(separator: ", ")))
        }
        return findings
    }

    static func unreadable(_ facts: NodeFacts) -> [Finding] {
        facts.unreadable.map { error in
            Finding(
                "devices", "directories", .warning, "\(error.subject) cannot be read: \(error.sentence)",
                remedy: error.errno == Errno.EACCES
                    ? "let users read it: chmod a+rx \(error.subject)" : "dmesg may show the reason")
        }
    }

    static func fabrics(_ facts: NodeFacts) -> [Finding] {
        let area = "fabrics"
        guard !facts.fabrics.isEmpty else {
            return [Finding(area, "RDMA", .ok, "no devices (/dev/infiniband, /dev/cxi*): NCCL will use TCP")]
        }
        var findings: [Finding] = []
        for device in facts.fabrics {
            let name = device.name.isEmpty ? device.node.path : device.name
            let driver = device.driver.isEmpty ? "" : " (\(device.driver))"
            if facts.refusedFabrics.contains(device.node) {
                findings.append(
                    Finding(
                        area, name, .warning, "\(device.node)\(driver) cannot be opened by this user here",
                        remedy:
                            "set mode 0666 by a udev rule (rdma-core has one), and remove it from Slurm's GRES"))
            } else if device.isActive == false {
                findings.append(
                    Finding(
                        area, name, .warning, "\(device.node)\(driver): no port is active",
                        remedy: "check cable, switch and subnet manager: ibstat"))
            } else {
                findings.append(Finding(area, name, .ok, device.node.path + driver))
            }
        }
        if facts.fabrics.contains(where: { $0.node.kind == .verbs }), !facts.hasConnectionManager {
            findings.append(
                Finding(
                    area, "rdma_cm", .warning, "/dev/infiniband/rdma_cm is missing: UCX and MPI connect through it",
                    remedy: "modprobe rdma_ucm"))
        }
        if let file = facts.topologyFile {
            findings.append(Finding(area, "topology", .ok, "\(file): launches mount it for NCCL"))
        }
        return findings
    }
}
