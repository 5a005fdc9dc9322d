/** CDI files in YAML and JSON, the names of devices, and what a spec becomes by them. */
import assert from "node:assert/strict";

import fc from "fast-check";
import { parse } from "yaml";

import { cdiEdits, requestedCdiDevices } from "../../../src/oci-spec/cdi/cdi.ts";
import { parseCdiFile } from "../../../src/oci-spec/cdi/file.ts";
import { attempt, type FuzzTarget, jsonSeeds, textSeeds } from "../target.ts";

const path = fc.constantFrom("/dev/a", "/dev/../etc/x", "dev/a", "", "/a\0b", "/");
const edits = fc.record(
  {
    env: fc.array(fc.constantFrom("A=b", "A", "=b", "A=\0"), { maxLength: 2 }),
    deviceNodes: fc.array(
      fc.record(
        {
          path,
          hostPath: path,
          type: fc.constantFrom("c", "b", "p", "u", "x"),
          major: fc.constantFrom(1, -1, 2 ** 31, 1.5),
          minor: fc.constantFrom(3, "3"),
          fileMode: fc.constantFrom(0o666, 2 ** 33),
          permissions: fc.constantFrom("rwm", "r", "x", ""),
          uid: fc.constantFrom(0, 2 ** 32),
        },
        { requiredKeys: ["path"] },
      ),
      { maxLength: 2 },
    ),
    mounts: fc.array(
      fc.record(
        {
          hostPath: path,
          containerPath: path,
          type: fc.constantFrom("bind", "tmpfs", ""),
          options: fc.array(fc.constantFrom("ro", "rbind", "x,y")),
        },
        { requiredKeys: ["hostPath", "containerPath"] },
      ),
      { maxLength: 2 },
    ),
    hooks: fc.array(
      fc.record(
        {
          hookName: fc.constantFrom("createRuntime", "prestart", "x"),
          path,
          args: fc.array(fc.string()),
          timeout: fc.constantFrom(1, -1, 0.5),
        },
        { requiredKeys: ["hookName", "path"] },
      ),
      { maxLength: 2 },
    ),
    additionalGids: fc.array(fc.constantFrom(0, 1, 2 ** 32, -1)),
    intelRdt: fc.record({ closID: fc.constantFrom("a", "..", "a/b") }),
  },
  { requiredKeys: [] },
);
const file = fc.record({
  cdiVersion: fc.constantFrom("0.6.0", "v1.0.0", "9"),
  kind: fc.constantFrom("vendor.com/class", "a/b", "a", "a/b/c"),
  devices: fc.array(
    fc.record({ name: fc.constantFrom("gpu0", "all", "x=y", ""), containerEdits: edits }),
    { maxLength: 3 },
  ),
  containerEdits: edits,
});

/** The value of the text; `undefined` where the YAML itself is invalid, which the reader of files handles. */
function valueOf(text: string): unknown {
  try {
    return parse(text, { version: "1.1", logLevel: "error", prettyErrors: false });
  } catch {
    return undefined;
  }
}

export const target: FuzzTarget = {
  name: "cdi",
  seeds: () => [
    ...jsonSeeds(
      {
        cdiVersion: "0.6.0",
        kind: "vendor.com/device",
        devices: [
          { name: "a", containerEdits: { env: ["A=b"], deviceNodes: [{ path: "/dev/a" }] } },
        ],
        containerEdits: { hooks: [{ hookName: "createContainer", path: "/bin/x" }] },
      },
      {
        cdiVersion: "0.6.0",
        kind: "a/b",
        devices: [
          {
            name: "a",
            containerEdits: { mounts: [{ hostPath: "/a", containerPath: "/b", options: ["ro"] }] },
          },
        ],
      },
    ),
    ...textSeeds(
      "cdiVersion: 0.5.0\nkind: v/c\ndevices:\n- name: x\n  containerEdits:\n    env: [A=b]\n",
      "v/c=x,v/c=y",
    ),
  ],
  // The parser of YAML takes 5 us for a byte.
  limitMs: (bytes) => 300 + bytes / 10,
  words: [
    "deviceNodes",
    "mounts",
    "hooks",
    "netDevices",
    "additionalGids",
    "intelRdt",
    "&a ",
    "*a",
    "vendor.com/class=gpu0",
  ],
  structured: file.map((value) => Buffer.from(JSON.stringify(value))),
  check: (input) => {
    const text = input.toString("utf8");
    const annotations = { "cdi.k8s.io/x": text };
    const names = attempt(["invalid-argument"], () =>
      requestedCdiDevices({ CDIDevices: [], annotations }),
    );
    for (const name of names ?? [])
      assert.match(name, /^[A-Za-z][\w.-]*\/[A-Za-z][\w-]*=[A-Za-z0-9][\w.:-]*$/);
    const content = attempt(["invalid-argument"], () => parseCdiFile(valueOf(text)));
    if (content === undefined) return;
    const all = [...content.devices.keys()].map((name) => `${content.kind}=${name}`);
    const merged = cdiEdits([{ path: "/f", priority: 0, content }], all);
    for (const { path: device } of merged.deviceNodes) assert.ok(device.startsWith("/"), device);
    for (const { path: hook } of merged.hooks) assert.ok(hook.startsWith("/"), hook);
    for (const { hostPath } of merged.mounts) assert.ok(typeof hostPath === "string");
    for (const gid of merged.additionalGids) assert.ok(gid >= 0 && gid < 2 ** 32 - 1);
    attempt(["invalid-argument"], () =>
      cdiEdits([{ path: "/f", priority: 0, content }], ["v/c=none"]),
    );
  },
};
