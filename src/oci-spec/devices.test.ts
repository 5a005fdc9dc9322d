import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../base/errors.ts";
import { checkDevices, containerDevices, type HostDevice } from "./devices.ts";
import { containerConfig } from "./testing/spec-input.ts";

const node = (path: string, over: Partial<HostDevice> = {}): HostDevice => ({
  path,
  type: "c",
  major: 10,
  minor: 229,
  fileMode: 0o666,
  uid: 0,
  gid: 0,
  ...over,
});

test("containerDevices() denies everything but what is asked for", () => {
  assert.deepEqual(containerDevices([], undefined), {
    devices: [],
    rules: [{ allow: false, access: "rwm" }],
  });
  const fuse = node("/dev/fuse");
  const disk = node("/dev/sda", { type: "b", major: 8, minor: 0 });
  const { devices, rules } = containerDevices(
    [
      { device: fuse, access: "rw" },
      { device: disk, access: "r" },
      { device: node("/dev/raw", { type: "u" }), access: "m" },
      { device: node("/dev/pipe", { type: "p" }), access: "rw" },
    ],
    undefined,
  );
  assert.deepEqual(
    devices.map(({ path }) => path),
    ["/dev/fuse", "/dev/sda", "/dev/raw", "/dev/pipe"],
  );
  assert.deepEqual(rules, [
    { allow: false, access: "rwm" },
    { allow: true, type: "c", major: 10, minor: 229, access: "rw" },
    { allow: true, type: "b", major: 8, minor: 0, access: "r" },
    { allow: true, type: "c", major: 10, minor: 229, access: "m" },
  ]);
});

test("containerDevices() gives all of the host's but pipes, the console and others' directories", () => {
  const paths = [
    "/dev/sda",
    "/dev/console",
    "/dev/pts/0",
    "/dev/shm/x",
    "/dev/.lxc/a",
    "/dev/net/tun",
  ];
  const pipe = node("/dev/initctl", { type: "p" });
  const { devices, rules } = containerDevices([], [...paths.map((path) => node(path)), pipe]);
  assert.deepEqual(
    devices.map(({ path }) => path),
    ["/dev/sda", "/dev/net/tun"],
  );
  assert.deepEqual(rules, [{ allow: true, access: "rwm" }]);
});

test("containerDevices() has a path once: the request's device before the host's", () => {
  const asked = node("/dev/fuse", { minor: 1 });
  const { devices } = containerDevices([{ device: asked, access: "rwm" }], [node("/dev/fuse")]);
  assert.deepEqual(devices, [asked]);
});

test("checkDevices() refuses paths and permissions that cannot be meant", () => {
  const ok = { hostPath: "/dev/fuse", containerPath: "/dev/fuse", permissions: "mrw" };
  const bad: readonly (readonly [typeof ok, RegExp])[] = [
    [{ ...ok, hostPath: "" }, /host_path must be absolute/],
    [{ ...ok, containerPath: "dev" }, /container_path must be absolute or empty/],
    [{ ...ok, permissions: "" }, /permissions of "\/dev\/fuse" must be some of r, w and m/],
    [{ ...ok, permissions: "rx" }, /got "rx"/],
    [{ ...ok, permissions: "rr" }, /got "rr"/],
  ];
  for (const [device, why] of bad) {
    assert.throws(
      () => checkDevices(containerConfig({ devices: [device] })),
      (error) => isKind(error, "invalid-argument") && why.test(String(error)),
    );
  }
  checkDevices(containerConfig({ devices: [ok, { ...ok, containerPath: "" }] }));
});
