import Store

/// A decoded launch record must survive encoding and decoding.
func readRecord(_ bytes: [UInt8]) {
    // Most inputs lack the constant first line.
    for text in [bytes, Array("berth-launch-record 1\n".utf8) + bytes] {
        guard let record = LaunchRecord(decoding: text) else { continue }
        precondition(LaunchRecord(decoding: record.encoded) == record, "the record says something else")
    }
}
