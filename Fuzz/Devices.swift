import DeviceSpecifications
import Devices
import Foundation

/// Parses device inputs: the site's specifications and their record, and the image's loader cache and libraries, which
/// are hostile.
func readDevices(_ bytes: [UInt8]) {
    readSpecification(String(decoding: bytes, as: UTF8.self))
    _ = DeviceRegistry(decoding: bytes, key: "key")
    addToCache(bytes)
    readLibrary(bytes)
}

/// The record must preserve the specification: no input may end or start a field.
private func readSpecification(_ text: String) {
    let path = "/etc/cdi/f.yaml"
    guard let specification = try? SpecificationParser.parse(text, path: path, priority: 1)  // rejected: fine
    else { return }
    var registry = DeviceRegistry()
    registry.specifications = [specification]
    let back = DeviceRegistry(decoding: registry.encoded(key: "key"), key: "key")
    precondition(back == registry, "the record says something else")
}

/// Libraries that are added to any cache must be in the result.
private func addToCache(_ bytes: [UInt8]) {
    let added = ["libcuda.so.1", "libnvidia-ml.so.1", "liba.so.2"].map {
        LoaderCache.Library(soname: $0, path: "/usr/local/nvidia/lib64/" + $0)
    }
    guard let file = LoaderCache.adding(added, to: bytes) else { return }
    guard let after = LoaderCache(file) else { fatalError("a cache that Berth wrote is none") }
    let found = after.libraries
    for library in added {
        precondition(found.contains(library), "\(library.soname) is missing")
    }
}

private func readLibrary(_ bytes: [UInt8]) {
    let path = placePath + "/library"
    guard FileManager.default.createFile(atPath: path, contents: Data(bytes)) else {
        fatalError("cannot write \(path)")
    }
    guard let library = ELFFile(path: path) else { return }
    _ = library.soname
    _ = library.note(section: CUDACompatibility.section, owner: CUDACompatibility.owner)
}
