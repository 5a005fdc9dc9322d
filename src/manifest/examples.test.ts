import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { type NodeInfo, parsePodManifests } from "./index.ts";

const directory = path.resolve(import.meta.dirname, "../../examples");
const files = globSync("*.yaml", { cwd: directory }).toSorted();
const node: NodeInfo = {
  podsRoot: "/pods",
  resolvConf: "",
  nodeName: "node-1",
  memoryBytes: 2 ** 33,
};

test("examples/README.md lists all manifests", () => {
  const text = readFileSync(path.join(directory, "README.md"), "utf8");
  const listed = [...text.matchAll(/^\| \[(.*\.yaml)\]/gm)].map(([, name = ""]) => name);
  assert.deepEqual(listed.toSorted(), files);
});

for (const file of files) {
  test(`examples/${file} is valid, and names its pod after the file`, () => {
    const text = readFileSync(path.join(directory, file), "utf8");
    const pods = parsePodManifests(text, file, node);
    assert.deepEqual(
      pods.map(({ name, namespace }) => `${namespace}/${name}.yaml`),
      [`default/${file}`],
    );
    for (const pod of pods) {
      for (const container of [...pod.initContainers, ...pod.containers]) {
        // Only the image of the tests, so that no example needs a registry of its own.
        assert.equal(container.image, "docker.io/library/busybox:1.37");
      }
    }
  });
}
