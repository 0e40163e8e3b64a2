internal import Diagnostics
internal import LinuxKernel

/// A row of a list in words, by the names that templates have for them.
protocol ListRow: Encodable, SendableMetatype {
    /// Name, and heading in a table.
    static var fields: [(name: String, heading: String)] { get }

    subscript(name: String) -> String { get }
}

extension ListRow {
    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(Dictionary(uniqueKeysWithValues: Self.fields.map { ($0.name, self[$0.name]) }))
    }
}

/// Docker's `--format`: text with `{{.Field}}`, or a table of such columns.
struct ListFormat<Row: ListRow> {
    private enum Piece {
        case text(String), field(String), json
    }

    private var columns: [[Piece]] = []
    private var isTable = false

    /// - Parameters:
    ///   - format: A template; `nil` and `table` stand for a table of the columns.
    ///   - columns: Names of `Row.fields`.
    init(_ format: String?, columns: [String]) throws(Failure) {
        self = if let format, format != "table" { try Self(format) } else { Self(columns: columns) }
    }

    private init(columns: [String]) {
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

    /// Whether a row is asked for one of these fields.
    func uses(_ names: [String]) -> Bool {
        columns.joined().contains { piece in
            switch piece {
            case .text: false
            case .field(let name): names.contains(name)
            case .json: true
            }
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
            } else if word.hasPrefix("."), Row.fields.contains(where: { "." + $0.name == word }) {
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
                hint: "fields are " + Row.fields.map { "." + $0.name }.joined(separator: " ") + ", and json ."))
    }

    /// - Parameter trims: Whether a table shows the beginning of long commands only.
    func text(_ rows: [Row], trims: Bool = false) throws -> String {
        guard isTable else {
            return try rows.map { row in
                try columns.map { try Self.text($0, row) }.joined() + "\n"
            }.joined()
        }
        var cells = [columns.map(Self.heading)]
        for row in rows {
            cells.append(try columns.map { try Self.text($0, row, mostOfCommand: trims ? 40 : nil) })
        }
        return TextTable.lines(cells).map { $0 + "\n" }.joined()
    }

    private static func heading(_ pieces: [Piece]) -> String {
        pieces.map { piece in
            switch piece {
            case .text(let text): text
            case .field(let name): Row.fields.first { $0.name == name }?.heading ?? ""
            case .json: "JSON"
            }
        }.joined()
    }

    private static func text(_ pieces: [Piece], _ row: Row, mostOfCommand limit: Int? = nil) throws -> String {
        try pieces.map { piece in
            switch piece {
            case .text(let text): return text
            case .field("Command"):
                let command = row["Command"]
                guard let limit, command.count > limit else { return command }
                return command.prefix(limit - 1) + "…"
            case .field(let name): return row[name]
            case .json: return try JSONText.line(row)
            }
        }.joined()
    }
}
