import LaunchPlanning
import Testing

@Suite struct SecretMaskTests {
    @Test(arguments: [
        "WANDB_API_KEY", "HF_TOKEN", "DB_PASSWORD", "db-password", "AWS_SECRET_ACCESS_KEY", "GITHUB_PAT", "Http_Authorization",
    ])
    func namesOfSecretsAreKnown(_ name: String) { #expect(SecretMask().hides(name: name)) }

    @Test(arguments: ["MAX_TOKENS", "TOKENIZERS_PARALLELISM", "KEYBOARD", "MONKEY", "PATH", "MASTER_PORT", "AUTHOR", "PASSES", ""])
    func otherNamesAreNot(_ name: String) { #expect(!SecretMask().hides(name: name)) }

    @Test(arguments: [
        "ghp_abcdefghijklmnop0123", "hf_abcdefghijklmnopqrst", "https://me:word@host/x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
    ])
    func valuesOfSecretsAreKnown(_ value: String) { #expect(SecretMask().hides(value: value)) }

    @Test(arguments: ["hf_short", "https://host/x@y:z", "https://me@host/", "0.1", "sk-learn", ""])
    func otherValuesAreNot(_ value: String) { #expect(!SecretMask().hides(value: value)) }

    @Test func theSitesNamesAreMaskedToo() {
        let mask = SecretMask(names: ["LICENSE", "TEAM_*"])
        #expect(mask.hides(name: "LICENSE") && mask.hides(name: "TEAM_X"))
        #expect(!mask.hides(name: "LICENSES") && !mask.hides(name: "MY_TEAM_X"))
    }

    @Test func wordsOfACommandLineAreMasked() {
        let words = [
            "python", "t.py", "--token", "abc", "--auth-token=abc", "-e", "API_KEY=x", "--env=API_KEY=x", "-e=API_KEY=x",
            "--lr=0.1", "--token", "--fast", "ghp_abcdefghijklmnop0123", "A=hf_abcdefghijklmnopqrst", "--api-key",
        ]
        #expect(
            SecretMask().masked(words: words) == [
                "python", "t.py", "--token", "(masked)", "--auth-token=(masked)", "-e", "API_KEY=(masked)",
                "--env=API_KEY=(masked)", "-e=API_KEY=(masked)", "--lr=0.1", "--token", "--fast", "(masked)", "A=(masked)",
                "--api-key",
            ])
    }
}
