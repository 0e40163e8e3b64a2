import Devices
import Testing

/// Names that the CDI specification and its reference implementation accept or reject.
@Suite struct QualifiedNameTests {
    @Test(arguments: [
        ("vendor.com/class=device", "vendor.com", "class", "device"), ("v/c=0", "v", "c", "0"),
        ("nvidia.com/gpu=1:0", "nvidia.com", "gpu", "1:0"),
        ("vendor1.com/class-1.x_y=dev.1_a-b:c", "vendor1.com", "class-1.x_y", "dev.1_a-b:c"),
        (
            "nvidia.com/gpu=GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f", "nvidia.com", "gpu",
            "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"
        ),
    ]) func goodNames(_ text: String, _ vendor: String, _ class: String, _ name: String) throws {
        let parsed = try QualifiedName(parsing: text)
        #expect(parsed.vendor == vendor && parsed.class == `class` && parsed.name == name)
        #expect(parsed.text == text && parsed.kind == vendor + "/" + `class`)
    }

    @Test(arguments: [
        ("", QualifiedName.Refusal.notQualified), ("device", .notQualified), ("vendor.com=device", .notQualified),
        ("/dev/nvidia0", .notQualified), ("vendor.com/class", .notQualified), ("/vendor.com/class=d", .notQualified),
        ("1vendor.com/class=d", .badVendor), ("_vendor.com/class=d", .badVendor), ("vendor.com-/class=d", .badVendor),
        ("vendor com/class=d", .badVendor), ("vendor.com/=d", .badClass), ("vendor.com/1class=d", .badClass),
        ("vendor.com/cl/ass=d", .badClass), ("vendor.com/class:=d", .badClass), ("vendor.com/class=", .badName),
        ("vendor.com/class=_d", .badName), ("vendor.com/class=d:", .badName), ("vendor.com/class=d d", .badName),
        ("vendor.com/class=d=e", .badName), ("vendor.com/class=é", .badName),
    ]) func badNames(_ text: String, _ refusal: QualifiedName.Refusal) {
        #expect(throws: refusal) { try QualifiedName(parsing: text) }
    }
}
