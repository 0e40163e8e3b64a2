import Foundation
import TestSupport

/// A directory with a store and layouts, and the program that uses them.
final class Fixture: Sendable {
    static let program = packageRoot() + "/.build/debug/berth-image"
    let place: TemporaryDirectory
    var path: String { place.path }

    init() throws { place = try TemporaryDirectory() }

    var environment: [String: String] {
        [
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": path, "TMPDIR": path,
            "BERTH_STORE": path + "/store", "LC_ALL": "C",
        ]
    }

    func command(_ arguments: [String], store: String? = nil) -> Command {
        var environment = environment
        if let store { environment["BERTH_STORE"] = path + "/" + store }
        return Command([Self.program] + arguments, environment: environment, directory: path, secondsAllowed: 240)
    }

    /// Runs the program, which must succeed.
    @discardableResult
    func berth(_ arguments: String..., store: String? = nil) throws -> Ended {
        let ended = try command(arguments, store: store).run()
        guard ended.status == 0 else { throw TestSupportError("berth \(arguments): \(ended)") }
        return ended
    }

    /// Runs the program, which must fail with Berth's status; returns the error.
    func refusal(_ arguments: String...) throws -> String {
        let ended = try command(arguments).run()
        guard ended.status == 125 else { throw TestSupportError("berth \(arguments) did not fail: \(ended)") }
        return ended.errors
    }

    /// Runs a script, which must succeed.
    @discardableResult
    func shell(_ script: String, _ arguments: String...) throws -> String {
        let ended = try Command(
            ["/bin/bash", "-euc", script, "bash"] + arguments, environment: environment, directory: path,
            secondsAllowed: 240
        ).run()
        guard ended.status == 0 else { throw TestSupportError("\(script): \(ended)") }
        return ended.output
    }

    /// The names in a directory of the fixture.
    func names(_ directory: String = "") throws -> Set<String> {
        Set(try FileManager.default.contentsOfDirectory(atPath: path + "/" + directory))
    }

    func json(_ file: String) throws -> [String: Any] {
        let data = try Data(contentsOf: URL(fileURLWithPath: path + "/" + file))
        guard let object = try JSONSerialization.jsonObject(with: data) as? [String: Any] else {
            throw TestSupportError("\(file) is no JSON object")
        }
        return object
    }

    /// The entries of a layout's index.
    func manifests(_ layout: String) throws -> [[String: Any]] {
        try json(layout + "/index.json")["manifests"] as? [[String: Any]] ?? []
    }

    /// The manifest of a tag in a layout.
    func manifest(_ layout: String, _ tag: String) throws -> [String: Any] {
        for entry in try manifests(layout) {
            let annotations = entry["annotations"] as? [String: Any]
            guard annotations?["org.opencontainers.image.ref.name"] as? String == tag else { continue }
            let digest = (entry["digest"] as? String ?? "").replacingOccurrences(of: ":", with: "/")
            return try json("\(layout)/blobs/\(digest)")
        }
        throw TestSupportError("\(layout) has no \(tag)")
    }

    func config(_ layout: String, _ tag: String) throws -> [String: Any] {
        let manifest = try manifest(layout, tag)
        let digest = (manifest["config"] as? [String: Any])?["digest"] as? String ?? ""
        return try json("\(layout)/blobs/\(digest.replacingOccurrences(of: ":", with: "/"))")
    }

    /// The trees of an image in a store, lowest first.
    func trees(_ image: String, store: String? = nil) throws -> [String] {
        let text = try berth("inspect", image, store: store).output
        let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
        return object?["trees"] as? [String] ?? []
    }

    /// Every entry that overlayfs shows for some trees, with all properties that an image can have, and which names are
    /// links to one file. `change` runs in it first, and its changes go to `upper`.
    func listing(_ trees: [String], upper: String? = nil, change: String = "") throws -> String {
        let script = """
            mkdir -p "$PWD/m" "$PWD/empty"
            trees=$1 upper=$2
            mount -t tmpfs none "$PWD/m" && mkdir "$PWD/m/merged" "$PWD/m/work"
            options="lowerdir=$trees:$PWD/empty"
            [ -z "$upper" ] || options="$options,upperdir=$upper,workdir=$upper.work"
            mount -t overlay -o "$options,userxattr" none "$PWD/m/merged"
            cd "$PWD/m/merged"
            \(change)
            find . -mindepth 1 -printf '%y %#m %T@ %l %P\\0' | sort -z | tr '\\0\\n' '\\n?'
            find . -type f -print0 | sort -z | xargs -0r sha256sum -z | tr '\\0\\n' '\\n?'
            find . -mindepth 1 ! -type d -links +1 -printf '%i %P\\0' | sort -z -k 2 \\
                | awk -v RS='\\0' '!($1 in seen) { seen[$1] = ++n } { i = seen[$1]; $1 = ""; print "link " i $0 }' \\
                | tr '\\0\\n' '\\n?'
            getfattr -R -h -P -d -m '^user\\.[^o]' . 2>/dev/null | tr -d '\\r' || :
            """
        if let upper { try shell("mkdir -p \"$1\" \"$1.work\"", upper) }
        return try shell(
            "unshare --user --map-root-user --mount bash -euc \"$1\" bash \"$2\" \"$3\"", script,
            trees.reversed().joined(separator: ":"), upper ?? "")
    }

    /// The upper directory that a script leaves when it runs over an image's trees, and the merged entries.
    func change(_ image: String, _ upper: String, _ script: String) throws -> String {
        try listing(trees(image), upper: path + "/" + upper, change: script)
    }

    static func has(_ program: String) -> Bool {
        let found = ["/usr/bin/", "/usr/local/bin/", "/bin/"].contains {
            FileManager.default.isExecutableFile(atPath: $0 + program)
        }
        if !found { FileHandle.standardError.write(Data("SKIPPED: no \(program)\n".utf8)) }
        return found
    }
}

/// A root file system with files that are hard to export.
func awkwardTree(_ fixture: Fixture, _ name: String) throws {
    try fixture.shell(
        #"""
        mkdir -p "$1" && cd "$1"
        mkdir -p etc usr/bin usr/lib/deep tmp opt/data opt/other
        chmod 1777 tmp
        echo root:x:0:0::/: > etc/passwd
        echo secret > etc/shadow; chmod 000 etc/shadow
        echo a > opt/data/a; echo b > opt/data/b; echo gone > opt/gone
        echo tool > usr/bin/tool; chmod 755 usr/bin/tool
        ln usr/bin/tool usr/bin/zz-same; ln usr/bin/tool etc/same
        ln -s ../../etc/passwd usr/lib/link; ln -s /nowhere opt/dangling
        ln -s "$(printf '%0150d' 7)" opt/long-target
        ln usr/lib/link -P opt/linked-link 2>/dev/null || :
        mkfifo opt/pipe; chmod 640 opt/pipe
        truncate -s 3000000 opt/sparse; printf end >> opt/sparse
        head -c 2500000 /dev/zero | tr '\0' x > opt/large
        long=$(printf 'd%0120d' 1); mkdir -p "opt/$long/$long"; echo deep > "opt/$long/$long/$(printf 'f%0200d' 2)"
        printf x > $'opt/new\nline'; printf x > $'opt/\xff\xfe'; printf x > 'opt/Übung'; printf x > 'opt/back\slash'
        printf x > 'opt/ blank = "quoted" '; mkdir $'opt/\xe9'; printf x > $'opt/\xe9/inner'
        touch -d '1960-05-04 12:00:00.25 UTC' opt/old; touch -d '2150-01-01 UTC' opt/late
        touch -d '2001-02-03 04:05:06.123456789 UTC' opt/precise
        touch -h -d '2002-02-02 UTC' opt/dangling
        setfattr -n user.note -v 'a note' opt/data/a; setfattr -n user.dir -v d opt/data
        echo x > opt/other/x; echo y > opt/other/y
        chmod 555 usr/lib/deep
        touch -d '2003-03-03 UTC' usr/bin usr/lib opt/data
        """#, fixture.path + "/" + name)
}
