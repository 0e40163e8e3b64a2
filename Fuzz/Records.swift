import Store

/// A launch record that is read says, written again, the same.
func readRecord(_ bytes: [UInt8]) {
    // Most inputs lack the first line, which is always the same.
    for text in [bytes, Array("berth-launch-record 1\n".utf8) + bytes] {
        guard let record = LaunchRecord(decoding: text) else { continue }
        precondition(LaunchRecord(decoding: record.encoded) == record, "the record says something else")
    }
}
