import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import type { ResourceClasses } from "../../core/container/index.ts";
import { ContainerAdjustmentSchema } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { CdiFiles } from "./cdi-files.ts";
import { ClientPaths } from "./client-paths.ts";
import { pluginAdjustments, processAdjustments } from "./plugin-adjustments.ts";

const paths = new ClientPaths(() => Promise.resolve("/"));
const classes: ResourceClasses = {
  blockIoOf: (name) => Promise.resolve({ weight: name.length }),
  rdtOf: (name, origin) => Promise.resolve({ closID: `${origin}-${name}` }),
};

const bytes = (init: MessageInitShape<typeof ContainerAdjustmentSchema>): Uint8Array =>
  toBinary(ContainerAdjustmentSchema, create(ContainerAdjustmentSchema, init));

test("pluginAdjustments() asks for CDI devices and classes that the adjustments name", async () => {
  const directory = await mkdtemp(join(tmpdir(), "davit-adjustments-"));
  try {
    const edits = { env: ["GPU=0"] };
    const file = {
      cdiVersion: "0.6.0",
      kind: "example.org/gpu",
      devices: [{ name: "0", containerEdits: edits }],
    };
    await writeFile(join(directory, "gpu.json"), JSON.stringify(file));
    const found = await pluginAdjustments(
      bytes({
        CDIDevices: [{ name: "example.org/gpu=0" }],
        linux: { resources: { blockioClass: { value: "slow" }, rdtClass: { value: "gold" } } },
      }),
      { cdi: new CdiFiles([directory]), paths, classes },
    );
    assert.deepEqual(found.cdi?.env, ["GPU=0"]);
    assert.deepEqual(found.blockIo, { weight: 4 });
    assert.deepEqual(found.intelRdt, { closID: "plugin-gold" });
    assert.equal(found.adjustment.CDIDevices.length, 1);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("pluginAdjustments() refuses CDI devices where CDI is off, and asks for no empty class", async () => {
  const deps = { cdi: undefined, paths, classes };
  await assert.rejects(
    pluginAdjustments(bytes({ CDIDevices: [{ name: "example.org/gpu=0" }] }), deps),
    (error) => isKind(error, "failed-precondition") && /switched off/.test(String(error)),
  );
  const none = bytes({ linux: { resources: { blockioClass: {}, rdtClass: {} } } });
  const found = await pluginAdjustments(none, deps);
  assert.deepEqual([found.blockIo, found.intelRdt, found.cdi], [undefined, undefined, undefined]);
});

test("pluginAdjustments() looks at the source of a mount that is to propagate, and no other", async () => {
  const mounts = (options: string[]) =>
    bytes({ mounts: [{ destination: "/x", source: "/does/not/exist", options }] });
  const deps = { cdi: undefined, paths, classes };
  await pluginAdjustments(mounts(["rprivate"]), deps);
  const missing = bytes({
    mounts: [{ destination: "/x", source: "/does/not/exist", options: ["rshared"] }],
  });
  await assert.rejects(
    pluginAdjustments(missing, deps),
    (error) =>
      isKind(error, "failed-precondition") &&
      /prepare mount of "\/does\/not\/exist"/.test(String(error)),
  );
});

test("processAdjustments() has what a command in the container gets too", () => {
  const { adjustment } = processAdjustments(
    bytes({
      env: [{ key: "A", value: "1" }],
      args: ["sleep"],
      mounts: [{ destination: "/x" }],
      rlimits: [{ type: "RLIMIT_CORE" }],
      linux: { oomScoreAdj: { value: 5n }, cgroupsPath: "/x", devices: [{ path: "/dev/x" }] },
    }),
  );
  assert.equal(adjustment.env.length, 1);
  assert.equal(adjustment.rlimits.length, 1);
  assert.equal(adjustment.linux?.oomScoreAdj?.value, 5n);
  assert.deepEqual(
    [adjustment.args.length, adjustment.mounts.length, adjustment.linux.devices.length],
    [0, 0, 0],
  );
  assert.equal(adjustment.linux.cgroupsPath, "");
});
