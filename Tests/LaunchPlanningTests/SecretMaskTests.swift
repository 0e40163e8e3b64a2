import LaunchPlanning
import Testing

@Suite struct SecretMaskTests {
    @Test(arguments: [
        "WANDB_API_KEY", "HF_TOKEN", "DB_PASSWORD", "db-password", "AWS_SECRET_ACCESS_KEY", "GITHUB_PAT",
        "Http_Authorization",
        "PGPASSWORD", "SSHPASS", "MYSQL_PWD", "HF_TOKEN_READ", "API_KEY_1", "OPENAI_APIKEY", "RABBITMQ_DEFAULT_PASS",
    ])
    func namesOfSecretsAreKnown(_ name: String) { #expect(SecretMask().hides(name: name)) }

    @Test(arguments: [
        "MAX_TOKENS", "TOKENIZERS_PARALLELISM", "KEYBOARD", "MONKEY", "PATH", "MASTER_PORT", "AUTHOR", "PASSES", "",
        "SSH_AUTH_SOCK", "KEY_FILE", "PAD_TOKEN", "SORT_KEY", "BYPASS", "PATTERN", "COMPASS",
    ])
    func otherNamesAreNot(_ name: String) { #expect(!SecretMask().hides(name: name)) }

    private static let random = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7"

    /// In a word, at its beginning or behind something, and as the value of a variable.
    @Test(arguments: [
        "ghp_\(random)", "gho_\(random)", "ghs_\(random)", "github_pat_11AB_\(random)", "glpat-\(random)",
        "gldt-\(random)",
        "hf_abcdefghijklmnopqrst", "wandb_v1_\(random)", "sk-\(random)", "sk-proj-\(random)", "sk-ant-api03-\(random)",
        "AKIAIOSFODNNSEXAMPLE", "ASIAIOSFODNN7EXAMPLE", "npm_\(random)", "xoxb-123456789012-\(random)",
        "xapp-1-\(random)",
        "nvapi-\(random)", "dckr_pat_\(random)", "pypi-AgEIcHlwaS5vcmcC\(random)", "hvs.\(random)", "AIzaSyA1\(random)",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3", "r8_\(random)", "gsk_\(random)", "sk_live_\(random)",
    ])
    func tokensAreKnownByTheirShapes(_ token: String) {
        #expect(SecretMask().hides(value: token))
        #expect(
            SecretMask().masked(words: ["a", token, "x=\(token)", "https://h/\(token)/y", "a \(token) b"])
                == ["a", "(masked)", "x=(masked)", "https://h/(masked)/y", "a (masked) b"])
    }

    /// A command line with `S3cret` in it, in every shape in which programs take one.
    @Test(arguments: [
        "--token S3cret", "--token=S3cret", "-token S3cret", "--auth-token=S3cret", "-e API_KEY=S3cret",
        "--env=API_KEY=S3cret",
        "-e=API_KEY=S3cret", "-password S3cret", "--password S3cret", "--password=S3cret", "--db.password=S3cret",
        "trainer.api_key=S3cret", "--authToken S3cret", "sshpass -p S3cret ssh -p 22 host", "sshpass -pS3cret ssh host",
        "/usr/bin/mysql -uroot -pS3cret db", "docker login -u me -p S3cret", "curl -u me:S3cret https://h/",
        "curl --user me:S3cret h",
        "redis-cli -a S3cret", "https://me:S3cret@host/x", "https://S3cret@host/a/b", "git+https://S3cret@host/a",
        "http://:S3cret@h",
        "--proxy=http://u:S3cret@h:3128", "https://h/?a=1&token=S3cret", "https://h/?access_token=S3cret",
        "X-Api-Key:S3cret", "PGPASSWORD=S3cret psql",
    ])
    func theSecretOfACommandLineIsMasked(_ line: String) {
        let words = line.split(separator: " ").map(String.init)
        let masked = SecretMask().masked(words: words)
        #expect(!masked.joined(separator: " ").contains("S3cret"), "\(masked)")
        // A variable may hold the line.
        #expect(SecretMask().hides(value: line), "\(line)")
        #expect(masked.count == words.count && zip(words, masked).count { $0 != $1 } == 1, "\(masked)")
        // The same as a shell's argument, alone and in quotes.
        for text in [line, "cd x && \(line); y", "bash -c '\(line)'", "env A=1 \"B\" \(line)"] {
            let one = SecretMask().masked(words: ["sh", "-c", text])
            #expect(!one[2].contains("S3cret"), "\(one)")
        }
    }

    @Test(arguments: [
        ["Authorization: Bearer S3cret"], ["Authorization: Basic S3cret"], ["authorization: token S3cret"],
        ["X-Api-Key: S3cret"],
        ["Cookie: a=S3cret; b=S3cret"], ["PRIVATE-TOKEN: S3cret"], ["PASSWORD=two S3cret words"],
        ["--password", "two S3cret words"],
        ["curl -H 'Authorization: Bearer S3cret' https://h/"], [#"curl -H "Authorization: Bearer S3cret" https://h/"#],
        ["WANDB_MODE=offline WANDB_API_KEY=S3cret python t.py"], ["PASSWORD='two S3cret' cmd"],
        [#"bash -c "PASSWORD='two S3cret' x""#], [#"{"token":"S3cret"}"#], [#"{"a": 1, "password": "S3cret"}"#],
        ["a\n-----BEGIN OPENSSH PRIVATE KEY-----\nS3cret"], ["don't use --token S3cret"],
    ])
    func textsAreMasked(_ words: [String]) {
        let masked = SecretMask().masked(words: ["x", "-H"] + words)
        #expect(!masked.joined(separator: " ").contains("S3cret"), "\(masked)")
        #expect(words.count > 1 || SecretMask().hides(value: words[0]))
    }

    @Test func whatIsNoSecretInAWordStays() {
        #expect(
            SecretMask().masked(words: [
                "sh", "-c", "WANDB_MODE=offline WANDB_API_KEY=abc python t.py --lr 0.1", "https://me:word@host/x?y=1",
                "A=hf_abcdefghijklmnopqrst",
            ]) == [
                "sh", "-c", "WANDB_MODE=offline WANDB_API_KEY=(masked) python t.py --lr 0.1",
                "https://(masked)@host/x?y=1", "A=(masked)",
            ])
    }

    @Test(arguments: [
        "python train.py --lr=0.1 --epochs 3", "--token-bucket 5", "--max-tokens 512", "--tokenizer gpt2",
        "--pad_token <pad>",
        "--sort-key name", "--keys a", "--no-auth train.py", "--password-file /run/x", "-p 8080:80", "ssh -p 22 host",
        "mkdir -p a/b",
        "curl -X GET https://host/x", "-v /run/secret:/run/secret:ro", "-v ./token:/x", "ssh://git@host/x",
        "git@host:a/b", "numpy==1.2",
        "https://host/x@y:z", "s3://bucket/key:1", "docker.io/team/token:5", "hf_short",
        "sk-learn-pipeline-of-my-project",
        "/envs/sk-learn-pipeline-3/bin/python", "monkey=5", "model.n_keys=3", "eyJhIjoxfQ", "key: value",
        "the key of the matter",
        "echo 'basic training'", "for i in 1 2; do echo $i; done", "awk '{ print $1 }'", "x:=y", "--", "-", "=", ":",
        "://", "''", "\"",
        "SSH_AUTH_SOCK=/run/x", "--hidden-size 4096 --passes 2",
    ])
    func ordinaryWordsStay(_ line: String) {
        let words = line.split(separator: " ").map(String.init)
        #expect(SecretMask().masked(words: words) == words)
        #expect(SecretMask().masked(words: ["sh", "-c", line]) == ["sh", "-c", line])
    }

    @Test func theSitesNamesAreMaskedToo() {
        let mask = SecretMask(names: ["LICENSE", "TEAM_*"])
        #expect(mask.hides(name: "LICENSE") && mask.hides(name: "TEAM_X"))
        #expect(!mask.hides(name: "LICENSES") && !mask.hides(name: "MY_TEAM_X"))
        #expect(
            mask.masked(words: ["-e", "LICENSE=x", "sh", "-c", "TEAM_A=b c"]) == [
                "-e", "LICENSE=(masked)", "sh", "-c", "TEAM_A=(masked)",
            ])
    }

    @Test func optionsWithoutAValueTakeNoOtherOptions() {
        #expect(SecretMask().masked(words: ["--token", "--fast", "--api-key"]) == ["--token", "--fast", "--api-key"])
    }
}
