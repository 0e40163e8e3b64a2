// swift-tools-version: 6.1
import PackageDescription

// BERTH_LEAN=1 omits everything that needs external packages, so that `berth` and its tests build in seconds and
// without resolving dependencies.
let lean = Context.environment["BERTH_LEAN"] != nil

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    // All modules must see the C library's headers as CLinux does: two versions of one struct in one compilation are an
    // error that depends on which files are compiled together.
    .unsafeFlags(["-warnings-as-errors", "-Xcc", "-D_GNU_SOURCE"]),
]

// Scripts/build sets a directory of archives, which the linker prefers to the system's shared libraries.
let archives: [LinkerSetting] =
    Context.environment["BERTH_ARCHIVES"].map {
        [.unsafeFlags(["-L", $0, "-Xlinker", "-z", "-Xlinker", "relro"])]
    } ?? []

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings)
}

// Dependencies point only downward. Tests/StructureTests compares this table with the imports.
let leanTargets: [Target] = [
    // Released programs must run with an older glibc; tests run on this machine only.
    .target(name: "CLinux", cSettings: archives.isEmpty ? [] : [.define("BERTH_OLD_GLIBC")]),
    .systemLibrary(name: "CCapability", providers: [.apt(["libcap-dev"])]),
    .systemLibrary(name: "CSeccomp", providers: [.apt(["libseccomp-dev"])]),
    library("LinuxKernel", ["CCapability", "CLinux"]),
    .systemLibrary(name: "CMessageDigest", providers: [.apt(["libmd-dev"])]),
    library("ImageSpec"),
    library("LaunchPlanning", ["Devices", "LinuxKernel"]),
    library("Sandbox", ["Devices", "LaunchPlanning", "LinuxKernel"]),
    library("Store", ["ImageSpec", "LinuxKernel"]),
    library("SiteConfig", ["LinuxKernel"]),
    library("Allocation", ["LinuxKernel"]),
    library("Devices", ["LinuxKernel"]),
    library(
        "Diagnostics", ["Devices", "ImageSpec", "LaunchPlanning", "LinuxKernel", "Sandbox", "SiteConfig", "Store"]),
    .executableTarget(
        name: "berth",
        dependencies: [
            "Allocation", "CMessageDigest", "Devices", "Diagnostics", "ImageSpec", "LaunchPlanning", "LinuxKernel",
            "Sandbox", "SiteConfig", "Store",
        ],
        swiftSettings: settings),
    library("SeccompProfiles", ["CSeccomp", "ImageSpec", "LaunchPlanning", "LinuxKernel"]),
    .executableTarget(
        name: "compile-seccomp", dependencies: ["LaunchPlanning", "LinuxKernel", "SeccompProfiles"],
        swiftSettings: settings),
    tests("SeccompProfilesTests", ["LaunchPlanning", "LinuxKernel", "SeccompProfiles", "TestSupport"]),
    library(
        "Doctor", ["Allocation", "Devices", "Diagnostics", "LaunchPlanning", "LinuxKernel", "SiteConfig"]),
    tests(
        "DoctorTests",
        ["Allocation", "Devices", "Doctor", "LaunchPlanning", "LinuxKernel", "TestSupport"], exclude: ["Golden"]),
    tests("LinuxKernelTests", ["LinuxKernel", "TestSupport"]),
    tests("ImageSpecTests", ["ImageSpec"]),
    .target(
        name: "TestSupport", dependencies: ["CLinux", "LinuxKernel"], path: "Tests/Support", swiftSettings: settings),
    tests("SandboxTests", ["Devices", "LaunchPlanning", "LinuxKernel", "Sandbox", "TestSupport"]),
    tests("LaunchPlanningTests", ["Devices", "LaunchPlanning", "LinuxKernel"]),
    tests("PlanSnapshots", ["Devices", "LaunchPlanning", "LinuxKernel", "TestSupport"], exclude: ["Golden"]),
    tests("SiteConfigTests", ["SiteConfig", "LinuxKernel", "TestSupport"]),
    tests("AllocationTests", ["Allocation", "LinuxKernel", "TestSupport"]),
    tests("DevicesTests", ["Devices", "LinuxKernel", "TestSupport"]),
    tests("StoreTests", ["Store", "ImageSpec", "LinuxKernel", "TestSupport"]),
    tests(
        "DiagnosticsTests",
        [
            "Devices", "Diagnostics", "ImageSpec", "LaunchPlanning", "LinuxKernel", "Sandbox", "SiteConfig", "Store",
            "TestSupport",
        ],
        exclude: ["Golden"]),
    tests("KernelTests", ["TestSupport"]),
    tests("StructureTests", ["LaunchPlanning", "SiteConfig", "TestSupport"]),
]

let richTargets: [Target] = [
    // Without pkg-config, whose -L option would precede that of the archives.
    .systemLibrary(name: "CISAL", providers: [.apt(["libisal-dev"])]),
    .systemLibrary(name: "CYAML", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(name: "CZstd", providers: [.apt(["libzstd-dev"])]),
    // toml++, whose headers are Debian's libtomlplusplus-dev.
    .target(name: "CTOMLPlusPlus"),
    library("ExperimentFiles", ["CTOMLPlusPlus", "LaunchPlanning", "LinuxKernel"]),
    tests("ExperimentFilesTests", ["Diagnostics", "ExperimentFiles", "ImageDiagnostics", "LinuxKernel", "TestSupport"]),
    library("Hashing", ["ImageSpec", .product(name: "Crypto", package: "swift-crypto")]),
    library(
        "Layers",
        [
            "ImageSpec", "LinuxKernel", "CLinux", "CISAL", "CZstd", "Hashing",
        ]),
    tests(
        "LayersTests",
        ["Layers", "ImageSpec", "LinuxKernel", "TestSupport", .product(name: "Crypto", package: "swift-crypto")]),
    tests(
        "ImagePullTests",
        ["Distribution", "Hashing", "ImagePull", "ImageSpec", "Layers", "LinuxKernel", "Store", "TestSupport"]),
    library(
        "Distribution",
        [
            "Hashing", "ImageSpec",
            .product(name: "AsyncHTTPClient", package: "async-http-client"),
            .product(name: "NIOCore", package: "swift-nio"),
            .product(name: "NIOPosix", package: "swift-nio"),
            .product(name: "NIOHTTP1", package: "swift-nio"),
            .product(name: "NIOSSL", package: "swift-nio-ssl"),
        ]),
    tests(
        "RegistryTests",
        [
            "Distribution", "Hashing", "ImageExport", "ImagePull", "ImageSpec", "LinuxKernel", "Store", "TestSupport",
            .product(name: "AsyncHTTPClient", package: "async-http-client"),
            .product(name: "NIOCore", package: "swift-nio"),
            .product(name: "NIOPosix", package: "swift-nio"),
            .product(name: "NIOHTTP1", package: "swift-nio"),
            .product(name: "NIOSSL", package: "swift-nio-ssl"),
        ], exclude: ["Private"]),
    library(
        "ImagePull",
        [
            "Distribution", "Hashing", "ImageSpec", "Layers", "LinuxKernel", "Store",
        ]),
    library(
        "ImageExport",
        [
            "CISAL", "CZstd", "Distribution", "Hashing", "ImageSpec", "Layers", "LinuxKernel", "Store",
        ]),
    tests(
        "ImageExportTests",
        ["berth-image", "ImageExport", "LinuxKernel", "TestSupport"]),
    library(
        "ImageDiagnostics",
        [
            "DeviceSpecifications", "Diagnostics", "Distribution", "ExperimentFiles", "ImageExport", "ImagePull", "ImageSpec",
            "Layers", "LinuxKernel", "SeccompProfiles",
        ]),
    tests(
        "CommandTests",
        [
            "berth-image", "Diagnostics", "Distribution", "Hashing", "ImageDiagnostics", "ImageExport", "ImagePull",
            "ImageSpec", "LaunchPlanning", "LinuxKernel", "Store", "TestSupport",
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
        ]),
    library("DeviceSpecifications", ["CYAML", "Devices", "LinuxKernel"]),
    tests(
        "DeviceSpecificationsTests",
        ["DeviceSpecifications", "Devices", "ImageDiagnostics", "LinuxKernel", "TestSupport"]),
    .executableTarget(
        name: "berth-image",
        dependencies: [
            "Allocation", "CLinux", "DeviceSpecifications", "Devices", "Diagnostics", "Distribution", "Doctor",
            "ExperimentFiles", "Hashing", "ImageDiagnostics", "ImageExport", "ImagePull", "ImageSpec", "LaunchPlanning", "Layers", "LinuxKernel",
            "Sandbox", "SeccompProfiles", "SiteConfig", "Store",
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
        ],
        swiftSettings: settings, linkerSettings: archives),
]

let richDependencies: [Package.Dependency] = [
    .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
    .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
]

// BERTH_FUZZ=1 adds the libFuzzer program of Fuzz/run; BERTH_FUZZ=all includes the targets that need the network
// modules.
let fuzzesAll = Context.environment["BERTH_FUZZ"] == "all"
let fuzzTargets: [Target] = [
    .executableTarget(
        name: "berth-fuzz",
        dependencies: [
            "DeviceSpecifications", "Devices", "ImageSpec", "Layers", "LinuxKernel", "SiteConfig", "Store",
            "TestSupport",
            .product(name: "Crypto", package: "swift-crypto"),
        ] + (fuzzesAll ? ["Distribution", "Hashing", "ImagePull"] : []),
        path: "Fuzz", exclude: ["Corpus", "run"],
        swiftSettings: settings + (fuzzesAll ? [.define("BERTH_FUZZ_ALL")] : []))
]

let package = Package(
    name: "berth",
    products: [],
    dependencies: lean ? [] : richDependencies,
    targets: leanTargets + (lean ? [] : richTargets)
        + (Context.environment["BERTH_FUZZ"] != nil ? fuzzTargets : []),
    cxxLanguageStandard: .cxx17
)
