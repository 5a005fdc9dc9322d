/** The second boot of the node with the Debian package: davit is back, and leaves without a trace. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { bootId } from "./node-on-disk.ts";
import {
  everything,
  type Expectation,
  expectationFile,
  manifest,
  must,
  run,
} from "./package-node.ts";
import { property, until } from "./service.ts";

const expected = JSON.parse(readFileSync(expectationFile, "utf8")) as Expectation;

test("systemd starts the service at the boot; the pod of the last boot is there and not ready", async () => {
  assert.notEqual(bootId(), expected.bootId);
  await until("the service is active", () => property("ActiveState") === "active");
  const pods = JSON.parse(must("davit pods --output json")) as {
    items: readonly { id: string; state: string }[];
  };
  assert.deepEqual(
    pods.items.map(({ id, state }) => [id, state]),
    [[expected.pod, "SANDBOX_NOTREADY"]],
  );
  must(`davit rm --force ${expected.pod}`);
});

test("the image is still there, and runs in a new pod", async () => {
  must(`davit run ${manifest}`);
  await until("the log", () => run("davit logs hello").text === "hello from systemd\n");
  assert.equal(must("davit exec hello echo alive"), "alive\n");
});

test("davit uninstall --all and dpkg --purge leave nothing", () => {
  must("davit uninstall --all");
  must("dpkg --purge davit");
  const after = everything();
  assert.deepEqual(
    {
      more: after.filter((line) => !expected.before.includes(line)),
      fewer: expected.before.filter((line) => !after.includes(line)),
    },
    { more: [], fewer: [] },
  );
});
