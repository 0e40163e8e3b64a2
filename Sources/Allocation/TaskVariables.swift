/// Variables that belong to one task, one run or one session. They mean nothing to another: a task that attaches to a running
/// container, or a run that is repeated.
package enum TaskVariables {
    /// - Parameter entry: A name, or `NAME=VALUE`.
    package static func contain(_ entry: String) -> Bool {
        let name = entry.utf8.prefix { $0 != UInt8(ascii: "=") }
        if prefixes.contains(where: { name.starts(with: $0.utf8) }) { return true }
        // Which GPUs: CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES, NVIDIA_VISIBLE_DEVICES and others.
        if name.suffix(suffix.utf8.count).elementsEqual(suffix.utf8) { return true }
        return names.contains { name.elementsEqual($0.utf8) }
    }

    private static let suffix = "_VISIBLE_DEVICES"
    /// Slurm's, the process managers' and MPIs'; Berth's own; those of a login.
    private static let prefixes = [
        "SLURM", "PMI", "PALS_", "FLUX_", "OMPI_COMM_WORLD_", "OMPI_MCA_", "PRTE_", "MPI_LOCALRANKID",
        "MPI_LOCALNRANKS",
        "MV2_COMM_WORLD_", "BERTH_", "SSH_", "XDG_SESSION", "DBUS_",
    ]
    private static let names =
        PyTorchVariables.names + ["GPU_DEVICE_ORDINAL", "TMPDIR", "TERM", "HOSTNAME", "DISPLAY", "XAUTHORITY"]
}
