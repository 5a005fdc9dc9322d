import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { ConfigError, parseConfig } from "../../config/load.ts";
import { defaultFiles, importConfig, type Rival } from "./import-config.ts";
import { NodeFiles } from "./node-files.ts";
import { writeFiles } from "./write-files.ts";

const nodes = path.join(import.meta.dirname, "testing");

// GOLDEN=write writes what is expected; read its diff before you commit it.
for (const name of readdirSync(nodes)) {
  test(`importConfig() imports ${name}`, () => {
    const { text } = imported(name);
    const golden = path.join(nodes, name, "expected.toml");
    if (process.env["GOLDEN"] === "write") writeFileSync(golden, text);
    assert.equal(text, readFileSync(golden, "utf8"));
    parseConfig(text, golden);
  });
}

test("importConfig() with a directory for registries makes files that the configuration names", () => {
  const { text, files } = imported("containerd-mirrors", "/srv/davit/certs.d");
  const { images } = parseConfig(text, "imported");
  assert.equal(images.registryConfigPath, "/srv/davit/certs.d");
  assert.equal(images.dockerConfig, "/srv/davit/registry-credentials.json");
  const names = files.map((file) => file.name);
  assert.deepEqual(names, [
    "/srv/davit/certs.d/docker.io/hosts.toml",
    "/srv/davit/certs.d/_default/hosts.toml",
    "/srv/davit/certs.d/mirror.example:5000/hosts.toml",
    "/srv/davit/certs.d/private.example/hosts.toml",
    "/srv/davit/registry-credentials.json",
  ]);
  const credentials = files.find(({ isSecret }) => isSecret === true);
  assert.ok(credentials);
  const auth = Buffer.from("node:not-a-real-password").toString("base64");
  assert.deepEqual(JSON.parse(credentials.text), { auths: { "private.example": { auth } } });
});

test("importConfig() prints no secret", () => {
  for (const certs of [undefined, "/srv/davit/certs.d"]) {
    assert.doesNotMatch(imported("containerd-mirrors", certs).text, /not-a-real-password/);
  }
  assert.doesNotMatch(imported("crio-openshift").text, /NSS_SDB_USE_CACHE/);
});

test("importConfig() reports the file and the line of invalid TOML, also in an import", (t) => {
  const root = directory(t);
  const file = path.join(root, "config.toml");
  writeFileSync(file, 'version = 2\nimports = ["more.toml"]\n');
  writeFileSync(path.join(root, "more.toml"), "version = 2\n\n[plugins\n");
  assert.throws(
    () => importConfig("containerd", new NodeFiles(), file),
    (error) =>
      error instanceof ConfigError && /more\.toml:3: not valid TOML/.test(error.lines.join("\n")),
  );
});

test("importConfig() reads version 1, and rejects unknown versions and files that are too large", (t) => {
  const file = path.join(directory(t), "config.toml");
  const read = (text: string): string => {
    writeFileSync(file, text);
    return importConfig("containerd", new NodeFiles(), file).text;
  };
  assert.match(read("[plugins.cri]\nsystemd_cgroup = true\n"), /cgroup_driver = "systemd"/);
  assert.throws(() => read("version = 5\n"), /version must be 1, 2, 3 or 4.*line 1/);
  assert.throws(() => read("#".repeat(5 * 1024 * 1024)), /config\.toml".*at most 4194304/);
});

test("importConfig() reads version 4, whose server settings are plugins", (t) => {
  const file = path.join(directory(t), "config.toml");
  writeFileSync(
    file,
    `version = 4
[plugins."io.containerd.server.v1.grpc"]
gid = 107
max_recv_message_size = 33554432
[plugins."io.containerd.server.v1.debug"]
level = "trace"
[plugins."io.containerd.server.v1.metrics"]
address = "127.0.0.1:1338"
`,
  );
  const { text } = importConfig("containerd", new NodeFiles(), file);
  const config = parseConfig(text, "imported");
  assert.equal(config.server.group, "107");
  assert.equal(config.server.maxMessageBytes, 33_554_432);
  assert.equal(config.log.level, "debug");
  assert.equal(config.metrics.listen, "127.0.0.1:1338");
});

test("importConfig() notes values that davit does not accept, and keys that nobody knows", (t) => {
  const file = path.join(directory(t), "config.toml");
  const table = '[plugins."io.containerd.grpc.v1.cri"';
  writeFileSync(
    file,
    `version = 2\nnews = "\\u001b[31m"\n${table}]\nstream_server_address = "localhost"\n${table}.cni]\nconf_dir = "net.d"\n`,
  );
  const { text } = importConfig("containerd", new NodeFiles(), file);
  const config = parseConfig(text, "imported");
  assert.equal(config.streaming.address, "127.0.0.1");
  assert.match(text, /config\.toml:2: news = .*\n# {3}this key of containerd is not known here/);
  assert.match(
    text,
    /config\.toml:4: .*"localhost"\n# {3}streaming\.address of davit must be an IP address/,
  );
  assert.match(
    text,
    /config\.toml:6: .*"net\.d"\n# {3}cni\.conf_dir of davit must be an absolute path/,
  );
  assert.doesNotMatch(text, /\u001b/);
});

test("writeFiles() overwrites nothing without force, and protects secrets", (t) => {
  const root = directory(t);
  const name = path.join(root, "a/davit.toml");
  const secret = path.join(root, "a/secret.json");
  const files = [
    { name, text: "1" },
    { name: secret, text: "2", isSecret: true as const },
  ];
  assert.deepEqual(writeFiles(files, false), [name, secret]);
  assert.throws(() => writeFiles([{ name, text: "3" }], false), /it exists; .*--force/);
  writeFiles([{ name, text: "3" }], true);
  assert.equal(readFileSync(name, "utf8"), "3");
  assert.equal(new NodeFiles(root).read("/a/secret.json"), "2");
});

function imported(name: string, certs?: string): ReturnType<typeof importConfig> {
  const rival: Rival = name.startsWith("crio") ? "crio" : "containerd";
  const files = new NodeFiles(path.join(nodes, name));
  return importConfig(rival, files, defaultFiles[rival], certs);
}

function directory(t: TestContext): string {
  const made = mkdtempSync(path.join(tmpdir(), "davit-import-"));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}
