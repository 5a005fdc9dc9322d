import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { parseBaseSpec } from "./base-spec.ts";
import { containerSpec } from "../generate.ts";
import { specText } from "../json.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import { type ConfigInit, specInput } from "../testing/spec-input.ts";

function specOn(base: object, init: ConfigInit = {}): OciSpec {
  const sources = (init.mounts ?? []).map(({ hostPath }) => hostPath ?? "");
  const parsed = parseBaseSpec(JSON.stringify(base), "base.json");
  return containerSpec(specInput(init, { base: parsed, mountSources: sources }));
}

const plain = containerSpec(specInput());

test("an empty base changes nothing", () => {
  assert.equal(specText(specOn({})), specText(plain));
});

test("a base gives what the request has no word for", () => {
  const spec = specOn({
    annotations: { "example.org/base": "1", "io.kubernetes.cri.sandbox-id": "forged" },
    hooks: { prestart: [{ path: "/hook" }] },
    process: {
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 4096 }],
      env: ["BASE=1", "HOSTNAME=forged"],
      ioPriority: { class: "IOPRIO_CLASS_IDLE" },
    },
    linux: {
      sysctl: { "net.core.somaxconn": "1024" },
      resources: { pids: { limit: 100 }, cpu: { shares: 7, burst: 1 }, blockIO: { weight: 10 } },
    },
  });
  assert.equal(spec.annotations["example.org/base"], "1");
  assert.equal(spec.annotations["io.kubernetes.cri.sandbox-id"], "s1");
  assert.deepEqual(spec.hooks, { prestart: [{ path: "/hook" }] });
  assert.deepEqual(spec.process.rlimits, [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 4096 }]);
  assert.deepEqual(spec.process.env, ["BASE=1", ...plain.process.env]);
  const { process, linux } = JSON.parse(specText(spec)) as {
    readonly process: Record<string, unknown>;
    readonly linux: { readonly sysctl: unknown; readonly resources: Record<string, unknown> };
  };
  assert.deepEqual(process["ioPriority"], { class: "IOPRIO_CLASS_IDLE" });
  assert.deepEqual(linux.sysctl, { "net.core.somaxconn": "1024" });
  assert.deepEqual(linux.resources["pids"], { limit: 100 });
  assert.deepEqual(linux.resources["cpu"], { shares: 7, burst: 1 });
  assert.deepEqual(linux.resources["blockIO"], { weight: 10 });
});

test("the request's limits win, field by field, and its memory brings its own swap", () => {
  const base = {
    linux: {
      resources: {
        cpu: { shares: 7, quota: 5000 },
        memory: { limit: 90, swap: 95, swappiness: 1 },
        hugepageLimits: [
          { pageSize: "2MB", limit: 1 },
          { pageSize: "1GB", limit: 1 },
        ],
      },
    },
  };
  const { cpu, memory, hugepageLimits } = specOn(base, {
    linux: {
      resources: {
        cpuShares: 100n,
        memoryLimitInBytes: 64n,
        hugepageLimits: [{ pageSize: "2MB", limit: 2n }],
      },
    },
  }).linux.resources;
  assert.deepEqual(cpu, { shares: 100n, quota: 5000 });
  assert.deepEqual(memory, { swappiness: 1, limit: 64n, swap: 64n });
  assert.deepEqual(hugepageLimits, [
    { pageSize: "1GB", limit: 1 },
    { pageSize: "2MB", limit: 2n },
  ]);
});

test("isolation is the request's: a base can neither widen nor narrow it", () => {
  const spec = specOn({
    ociVersion: "9",
    root: { path: "/" },
    hostname: "forged",
    process: {
      args: ["/evil"],
      cwd: "/evil",
      user: { uid: 5 },
      terminal: true,
      noNewPrivileges: true,
      capabilities: { bounding: ["CAP_SYS_ADMIN"] },
    },
    linux: {
      namespaces: [],
      cgroupsPath: "/",
      uidMappings: [{ containerID: 0, hostID: 0, size: 1 }],
      seccomp: { defaultAction: "SCMP_ACT_ALLOW" },
      maskedPaths: ["/proc"],
      readonlyPaths: ["/proc"],
      resources: { devices: [{ allow: false, access: "rwm" }] },
    },
  });
  assert.equal(specText(spec), specText(plain));
});

test("a base's mounts replace the kernel's, and are replaced by those of request and pod", () => {
  const tmp = { destination: "/run/lock", type: "tmpfs", source: "tmpfs", options: ["size=1m"] };
  const dev = { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["size=9m"] };
  const hosts = { destination: "/etc/hosts", type: "bind", source: "/x", options: ["rbind"] };
  const mine = { destination: "/data", type: "tmpfs", source: "tmpfs", options: [] };
  const { mounts } = specOn(
    { mounts: [tmp, dev, hosts, mine] },
    { mounts: [{ hostPath: "/host", containerPath: "/data" }] },
  );
  const at = (path: string): object | undefined =>
    mounts.find(({ destination }) => destination === path);
  assert.deepEqual(at("/run/lock"), tmp);
  assert.deepEqual(at("/dev"), dev);
  assert.notDeepEqual(at("/etc/hosts"), hosts);
  assert.deepEqual((at("/data") as { readonly source?: string }).source, "/host");
  const order = mounts.map(({ destination }) => destination);
  assert.equal(new Set(order).size, order.length);
  assert.ok(order.indexOf("/dev") < order.indexOf("/dev/pts"));
  assert.ok(order.indexOf("/run/lock") < order.indexOf("/data"));
});

test("a base's devices are created and allowed, in addition to its deny rules", () => {
  const node = {
    path: "/dev/fuse",
    type: "c",
    major: 10,
    minor: 229,
    fileMode: 0o666,
    uid: 0,
    gid: 0,
  };
  const rule = { allow: true, type: "c", major: 10, minor: 229, access: "rwm" };
  const { devices, resources } = specOn({
    linux: { devices: [node], resources: { devices: [{ allow: false, access: "rwm" }, rule] } },
  }).linux;
  assert.deepEqual(devices, [node]);
  assert.deepEqual(resources.devices, [{ allow: false, access: "rwm" }, rule]);
});

test("parseBaseSpec() keeps large numbers, and refuses an invalid spec, naming the file", () => {
  const large = "9007199254740993";
  const base = parseBaseSpec(`{"linux":{"resources":{"memory":{"limit":${large}}}}}`, "b.json");
  assert.equal(base.linux?.resources?.memory?.limit, BigInt(large));
  for (const text of ["", "[]", '{"mounts":{}}', '{"process":1}', '{"mounts":[{}]}']) {
    assert.throws(
      () => parseBaseSpec(text, "/etc/b.json"),
      (error) => isKind(error, "failed-precondition") && /"\/etc\/b.json"/.test(String(error)),
      text,
    );
  }
});
