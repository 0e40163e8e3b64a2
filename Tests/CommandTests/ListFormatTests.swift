import Testing

@testable import berth_image

/// `--format`, with rows of `berth ps` as another node sends them.
@Suite struct ListFormatTests {
    private static let rows = [
        "node1\t7.0\t101\t\t7\t7.0\talice\tdebian:12\tsha256:ab\t0,1\tGPU-a,GPU-b\t2\t5\t90%\t1.5 GB\t2 hours\tpython3 train.py",
        "node1\ttools\t202\ttools\t\t\tbob\tr.io/tools\t\t-\t-\t1\t1\t0%\t2 MB\tmoments\tsh -c a-command-that-is-longer-than-forty-characters",
    ].compactMap(ContainerRow.init(exchanged:))

    @Test func aTableHasAHeadingAndAlignedColumns() throws {
        let table = try ListFormat<ContainerRow>("table {{.Container}}\\t{{.GPUs}}\\t{{.Command}}").text(
            Self.rows, trims: true)
        #expect(
            table == """
                CONTAINER  GPUS  COMMAND
                7.0        0,1   python3 train.py
                tools      -     sh -c a-command-that-is-longer-than-for…

                """)
        let whole = try ListFormat<ContainerRow>(nil, columns: ["Command"]).text(Self.rows, trims: false)
        #expect(whole.hasSuffix("-forty-characters\n"))
        let format = try ListFormat<ContainerRow>("table", columns: ["Image"])
        #expect(try format.text(Self.rows) == "IMAGE\ndebian:12\nr.io/tools\n")
        #expect(format.uses(["Image"]) && !format.uses(["Command"]))
    }

    @Test func aTemplateIsALineForEach() throws {
        let text = try ListFormat<ContainerRow>("{{ .ID }}:{{.Image}}\\t{{.User}}").text(Self.rows, trims: true)
        #expect(text == "101:debian:12\talice\n202:r.io/tools\tbob\n")
        let json = try ListFormat<ContainerRow>("{{json .}}").text(Self.rows, trims: true)
        #expect(json.split(separator: "\n").count == 2 && json.contains("\"Container\" : \"7.0\""), "\(json)")
    }

    @Test(arguments: ["{{.Nonsense}}", "{{.Image", "{{Image}}"]) func anUnknownFieldIsAnError(_ text: String) {
        #expect(throws: Failure.self) { try ListFormat<ContainerRow>(text) }
    }

    @Test func everyFieldIsExchanged() throws {
        #expect(Self.rows.count == 2)
        #expect(
            Self.rows[0].exchanged.split(separator: "\t", omittingEmptySubsequences: false).count
                == ContainerRow.fields.count)
        #expect(ContainerRow(exchanged: "too\tfew")?.exchanged == nil)
    }
}
