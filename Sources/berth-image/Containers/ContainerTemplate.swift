internal import Diagnostics
internal import LinuxKernel

/// Docker's `--format`: text with `{{.Field}}`, or a table of such columns.
struct ContainerTemplate {
    private enum Piece {
        case text(String), field(String), json
    }

    private var columns: [[Piece]] = []
    private var isTable = false

    /// - Parameter columns: Names of `ContainerRow.fields`.
    init(columns: [String]) {
        self.columns = columns.map { [.field($0)] }
        isTable = true
    }

    init(_ text: String) throws(Failure) {
        var rest = text
        if rest.hasPrefix("table ") {
            isTable = true
            rest = String(rest.dropFirst(6))
        }
        rest = rest.replacing("\\t", with: "\t").replacing("\\n", with: "\n")
        for column in isTable ? rest.split(separator: "\t", omittingEmptySubsequences: false).map(String.init) : [rest]
        {
            columns.append(try Self.pieces(column))
        }
    }

    private static func pieces(_ text: String) throws(Failure) -> [Piece] {
        var pieces: [Piece] = []
        var rest = text[...]
        while let open = rest.firstRange(of: "{{") {
            pieces.append(.text(String(rest[..<open.lowerBound])))
            rest = rest[open.upperBound...]
            guard let close = rest.firstRange(of: "}}") else { throw unknown(String(rest)) }
            let word = rest[..<close.lowerBound].filter { $0 != " " }
            rest = rest[close.upperBound...]
            if word == "json." {
                pieces.append(.json)
            } else if word.hasPrefix("."), ContainerRow.fields.contains(where: { "." + $0.name == word }) {
                pieces.append(.field(String(word.dropFirst())))
            } else {
                throw unknown(word)
            }
        }
        return pieces + [.text(String(rest))]
    }

    private static func unknown(_ word: String) -> Failure {
        Failure(
            Report(
                "--format: {{\(word)}} is not a field",
                hint: "fields are " + ContainerRow.fields.map { "." + $0.name }.joined(separator: " ") + ", and json .")
        )
    }

    /// - Parameter trims: Whether a table shows the beginning of long commands only.
    func text(_ rows: [ContainerRow], trims: Bool) throws -> String {
        guard isTable else {
            return try rows.map { row in
                try columns.map { try Self.text($0, row) }.joined() + "\n"
            }.joined()
        }
        var cells = [columns.map(Self.heading)]
        for row in rows {
            cells.append(try columns.map { try Self.text($0, row, mostOfCommand: trims ? 40 : nil) })
        }
        let widths = columns.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        return cells.map { row in
            // The last column is not padded.
            row.indices.map { column in
                column == row.count - 1
                    ? row[column] : row[column] + String(repeating: " ", count: widths[column] + 2 - row[column].count)
            }.joined() + "\n"
        }.joined()
    }

    private static func heading(_ pieces: [Piece]) -> String {
        pieces.map { piece in
            switch piece {
            case .text(let text): text
            case .field(let name): ContainerRow.fields.first { $0.name == name }?.heading ?? ""
            case .json: "JSON"
            }
        }.joined()
    }

    private static func text(_ pieces: [Piece], _ row: ContainerRow, mostOfCommand limit: Int? = nil) throws -> String {
        try pieces.map { piece in
            switch piece {
            case .text(let text): return text
            case .field("Command"):
                let command = row["Command"]
                guard let limit, command.count > limit else { return command }
                return command.prefix(limit - 1) + "…"
            case .field(let name): return row[name]
            case .json:
                return try JSONText.of(row).split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: " ")
            }
        }.joined()
    }
}
