package import LinuxKernel

/// A layer as `LayerUnpacker` left it: its tree and what is to be known of it.
package struct LayerTree: Sendable {
    package let directory: DescriptorBox
    package let summary: LayerSummary

    package init(_ directory: DescriptorBox, _ summary: LayerSummary) {
        self.directory = directory
        self.summary = summary
    }
}
