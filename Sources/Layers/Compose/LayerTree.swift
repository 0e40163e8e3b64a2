package import LinuxKernel

/// A layer that `LayerUnpacker` has unpacked: its tree and summary.
package struct LayerTree: Sendable {
    package let directory: DescriptorBox
    package let summary: LayerSummary

    package init(_ directory: DescriptorBox, _ summary: LayerSummary) {
        self.directory = directory
        self.summary = summary
    }
}
