/** Volumes in memory and ports of the host in the SDK, on a server of its own. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import type * as sdk from "../../src/sdk/index.ts";
import { failure as thrownBy } from "../../src/sdk/testing/failure.ts";
import { busyboxRoot } from "../support/sdk.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const program = path.join(repo, "bin/davit");
const built = path.join(repo, "dist/sdk/index.js");
const { Davit, DavitError } = (await import(built)) as typeof sdk;

const image = "test.local/busybox:1";
const directory = mkdtempSync(path.join(tmpdir(), "davit-sdk-test-"));
let davit: sdk.Davit;

before(async () => {
  davit = await Davit.start({ program });
  await davit.load({
    rootfs: busyboxRoot(path.join(directory, "busybox")),
    tag: image,
    config: { cmd: ["sh"], env: { PATH: "/bin" } },
  });
});

after(async () => {
  await davit.close();
  rmSync(directory, { recursive: true });
});

const ownMounts = (): readonly string[] =>
  readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes("/davit-sdk-") && line.includes(" - tmpfs "));

const script = "trap 'exit 0' TERM; sleep 1000 & wait";
const manifest = (name: string, hostPort?: number) => ({
  ...{ apiVersion: "v1", kind: "Pod", metadata: { name } },
  spec: {
    volumes: [{ name: "v", emptyDir: { medium: "Memory", sizeLimit: "2Mi" } }],
    containers: ["one", "two"].map((container) => ({
      ...{ name: container, image, imagePullPolicy: "Never" },
      command: ["sh", "-c", script],
      volumeMounts: [{ name: "v", mountPath: "/v" }],
      ...(container === "one" && hostPort !== undefined
        ? { ports: [{ containerPort: 80, hostPort }] }
        : {}),
    })),
  },
});

test("apply() mounts an emptyDir in memory with its size, which goes with the pod", async () => {
  const [pod] = await davit.apply(manifest("memory"));
  assert.ok(pod !== undefined);
  assert.equal(ownMounts().length, 1);
  const [one, two] = [await pod.container("one"), await pod.container("two")];
  const df = await one.exec(["sh", "-c", "df -k /v | tail -1; echo x >/v/file"]);
  assert.match(df.stdout, /^\S+ +2048 /);
  assert.equal((await two.exec(["cat", "/v/file"])).stdout, "x\n", "the containers share it");
  const full = await thrownBy(
    one.exec(["sh", "-c", "head -c 4000000 /dev/zero >/v/large"]),
    DavitError,
  );
  assert.equal(full.kind, "exit-code", full.message);
  await pod.remove({ graceSeconds: 0 });
  assert.deepEqual(ownMounts(), []);
});

test("apply() refuses a port of the host that is taken, and leaves no mount", async () => {
  const listener = createServer().listen(0);
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const error = await thrownBy(davit.apply(manifest("taken", port)), DavitError);
  listener.close();
  assert.equal(error.kind, "failed");
  assert.match(error.message, new RegExp(`host port ${port}/tcp is in use by process`));
  const [pod] = await davit.apply(manifest("free", port));
  const other = await thrownBy(davit.apply(manifest("second", port)), DavitError);
  assert.match(other.message, /in use by pod "default\/free"/);
  assert.equal(ownMounts().length, 1);
  await pod?.remove({ graceSeconds: 0 });
  assert.deepEqual(ownMounts(), []);
});
