/// Columns that stand below each other, with two blanks between them. The last is not padded.
enum TextTable {
    /// - Parameter widest: A longer text pushes the rest of its own row to the right, and no other.
    static func lines(_ rows: [[String]], widest: Int = .max) -> [String] {
        guard let first = rows.first else { return [] }
        let widths = first.indices.dropLast().map { column in min(widest, rows.map { $0[column].count }.max() ?? 0) }
        return rows.map { row in
            let padded = zip(row, widths).map { $0 + String(repeating: " ", count: max(0, $1 - $0.count)) }
            return (padded + row.suffix(1)).joined(separator: "  ")
        }
    }
}
