internal import Devices
internal import LaunchPlanning

extension Diagnosis {
    static func gpus(_ facts: NodeFacts) -> [Finding] {
        let area = "GPUs"
        let nvidia = facts.nvidia
        guard let driver = nvidia.driver else {
            if !nvidia.nodes.isEmpty {
                return [
                    Finding(
                        area, "driver", .error,
                        "there are nodes (\(nvidia.nodes[0])…), but no driver of NVIDIA's is loaded",
                        remedy: "modprobe nvidia; dmesg says why it does not load")
                ]
            }
            return [
                Finding(
                    area, "driver", .ok,
                    facts.hasKFD
                        ? "AMD's driver is loaded (/dev/kfd)" : "no GPU's driver is loaded, and there are no nodes")
            ]
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
        if nvidia.library == nil {
            findings.append(
                Finding(
                    area, "libraries", .error,
                    "libcuda.so.1 is not where libraries are: containers would get no driver",
                    remedy:
                        "install the driver's user-space part of version \(driver) (libcuda1, nvidia-driver-cuda-libs)")
            )
        } else {
            findings.append(Finding(area, "libraries", .ok, nvidia.library ?? ""))
        }
        let specifications = nvidia.specifications.filter(\.isOfNVIDIA)
        if specifications.isEmpty {
            findings.append(Finding(area, "CDI", .ok, "no specification: the driver's files are found without one"))
        } else if let stale = specifications.first(where: { !$0.namesDriver }) {
            findings.append(
                Finding(
                    area, "CDI", .error, "\(stale.path) is of another driver than the loaded one (\(driver))",
                    remedy: "nvidia-ctk cdi generate --output=\(stale.path), or enable nvidia-cdi-refresh.service"))
        } else {
            findings.append(Finding(area, "CDI", .ok, specifications.map(\.path).joined(separator: ", ")))
        }
        if nvidia.hasIMEX {
            findings.append(
                nvidia.channels > 0
                    ? Finding(area, "IMEX", .ok, "\(nvidia.channels) channels")
                    : Finding(
                        area, "IMEX", .warning, "the driver has IMEX, but there is no channel: no NVLink between nodes",
                        remedy: "SwitchType=switch/nvidia_imex in slurm.conf, or a prolog that makes "
                            + "/dev/nvidia-caps-imex-channels/channel0; nvidia-imex.service must run"))
        }
        if !facts.fabrics.isEmpty, !nvidia.hasPeerMemory {
            findings.append(
                Finding(
                    area, "GPUDirect", .ok,
                    "nvidia_peermem is not loaded; with the open driver, Linux 5.12 and NCCL 2.13 DMA-BUF does the same"
                ))
        }
        return findings
    }

    static func fabrics(_ facts: NodeFacts) -> [Finding] {
        let area = "fabrics"
        guard !facts.fabrics.isEmpty else {
            return [Finding(area, "RDMA", .ok, "no devices (/dev/infiniband, /dev/cxi*): NCCL will use TCP")]
        }
        var findings: [Finding] = []
        for device in facts.fabrics {
            let name = device.name.isEmpty ? device.node : device.name
            let driver = device.driver.isEmpty ? "" : " (\(device.driver))"
            if facts.refusedFabrics.contains(device.node) {
                findings.append(
                    Finding(
                        area, name, .warning, "\(device.node)\(driver) cannot be opened by this user here",
                        remedy:
                            "mode 0666 by a udev rule (rdma-core has one), and no GRES of Slurm's that constrains it"))
            } else if device.isActive == false {
                findings.append(
                    Finding(
                        area, name, .warning, "\(device.node)\(driver): no port is active",
                        remedy: "cable, switch and subnet manager: ibstat"))
            } else {
                findings.append(Finding(area, name, .ok, device.node + driver))
            }
        }
        if facts.fabrics.contains(where: { $0.node.hasPrefix("/dev/infiniband") }), !facts.hasConnectionManager {
            findings.append(
                Finding(
                    area, "rdma_cm", .warning, "/dev/infiniband/rdma_cm is missing: UCX and MPI connect through it",
                    remedy: "modprobe rdma_ucm"))
        }
        if let file = facts.topologyFile {
            findings.append(Finding(area, "topology", .ok, "\(file): NCCL reads it where it is mounted"))
        }
        return findings
    }
}
