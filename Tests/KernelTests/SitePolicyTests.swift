import Foundation
import Testing
import TestSupport

/// What berth.conf decides about images, and where its paths lead.
@Suite(.needsLauncher) struct SitePolicyTests {
    @Test(arguments: Caller.all) func imagesThatRegistriesForbidsAreRefusedInTheStoreToo(_ caller: Caller) throws {
        let stored = try StoredBox(caller)
        try stored.publish()
        try stored.box.directory.write("registries = allow docker.io/library\n", to: "berth.conf")
        #expect(try stored.run([], ["/bin/probe", "id"]).status == 0)
        for (rule, reason) in [
            ("deny docker.io/library/test", "registries = deny docker.io/library/test"),
            ("allow nvcr.io", "no prefix of registries = allow matches"),
        ] {
            try stored.box.directory.write("\nregistries = \(rule)\n", to: "berth.conf")
            let ended = try stored.run([], ["/bin/probe", "id"])
            #expect(ended.status == 125 && ended.output.isEmpty, "\(ended)")
            #expect(ended.errors.contains("images of docker.io/library/test are not permitted: \(reason)"), "\(ended)")
            #expect(ended.errors.contains("berth.conf:2"), "\(ended)")
        }
        // It is about names in registries.
        #expect(try stored.box.run(probe: "id").status == 0)
    }

    @Test(arguments: Caller.all) func aMountMayNameTheUserAndTheJob(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("mine", to: "data/\(caller.name)/17/file")
        try box.directory.write("mount = \(box.directory.path)/data/%u/$SLURM_JOB_ID /mine\n", to: "berth.conf")
        let ended = try box.run(probe: "cat", "/mine/file", environment: ["SLURM_JOB_ID": "17"])
        #expect(ended.status == 0 && ended.output.hasPrefix("mine"), "\(ended)")
        let outside = try box.run(probe: "cat", "/mine/file")
        #expect(outside.status == 125 && outside.errors.contains("mount uses $SLURM_JOB_ID"), "\(outside)")
    }

    @Test(arguments: Caller.all) func dropInsComeAfterTheFile(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("one", to: "one")
        try box.directory.write("two", to: "two")
        try box.directory.write("mount = \(box.path("one")) /file\n", to: "berth.conf")
        try box.directory.write("mount = \(box.path("two")) /file\n", to: "berth.conf.d/10-two.conf")
        let ended = try box.run(probe: "cat", "/file")
        #expect(ended.status == 0 && ended.output.hasPrefix("two"), "\(ended)")
    }
}
