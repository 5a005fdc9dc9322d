import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parsePodManifests } from "../../manifest/index.ts";
import { withAddresses, writeHostsFile } from "./hosts-file.ts";

const root = mkdtempSync(join(tmpdir(), "davit-hosts-file-"));
test.after(() => rmSync(root, { recursive: true }));

function podOf(spec: string) {
  const text = `{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {${spec} containers: [{name: c, image: i}]}}`;
  const node = { podsRoot: root, resolvConf: "", nodeName: "n", memoryBytes: 2 ** 33 };
  const [pod] = parsePodManifests(text, "m", node);
  assert.ok(pod);
  return { ...pod, directory: root };
}

const aliases =
  "hostAliases: [{ip: 10.1.1.1, hostnames: [db, db.local]}, {ip: '::2', hostnames: [six]}],";

test("writeHostsFile() writes the pod's own addresses and its aliases", async () => {
  assert.equal(await writeHostsFile(podOf(""), ["10.0.0.9"]), undefined);
  const path = await writeHostsFile(podOf(aliases), ["10.0.0.9", "fd00::9"]);
  assert.equal(
    readFileSync(path ?? "", "utf8"),
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
      "10.0.0.9\tweb\nfd00::9\tweb\n10.1.1.1\tdb\tdb.local\n::2\tsix\n",
  );
});

test("writeHostsFile() adds to the names of the node in its network", async () => {
  const path = await writeHostsFile(podOf(`hostNetwork: true, ${aliases}`), []);
  const text = readFileSync(path ?? "", "utf8");
  const ofNode = readFileSync("/etc/hosts", "utf8").trimEnd();
  assert.equal(text, `${ofNode}\n10.1.1.1\tdb\tdb.local\n::2\tsix\n`);
});

test("writeHostsFile() says for which pod it failed", async () => {
  const pod = { ...podOf(aliases), directory: join(root, "none") };
  await assert.rejects(writeHostsFile(pod, []), {
    kind: "failed-precondition",
    message: /^write the hosts file of pod "default\/web": ENOENT/,
  });
});

test("withAddresses() replaces the lines of the pod's own name, and keeps the others", () => {
  const text = "127.0.0.1\tlocalhost\n10.0.0.9\tweb\n10.1.1.1\tdb\tweb\n";
  assert.equal(
    withAddresses(text, "web", ["10.0.0.10"]),
    "127.0.0.1\tlocalhost\n10.1.1.1\tdb\tweb\n10.0.0.10\tweb\n",
  );
  assert.equal(withAddresses(text, "web", []), "127.0.0.1\tlocalhost\n10.1.1.1\tdb\tweb\n");
});
